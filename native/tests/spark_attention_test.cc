// Spark Transformer's attention against plain loops: heads whose parts are no whole vectors, one token and many, caches in
// place and copied, fewer keys than are attended to and many more. A token's result must not depend on what comes with it.
#include "kernels/spark_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "reference/spark_attention.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

using testing::Misaligned;

struct Sizes {
  size_t heads, kv_heads, head_size, predictor_size;
};

constexpr size_t kPositions = 300;
constexpr float kNone = -std::numeric_limits<float>::max();

// An operator whose tables live as long as it does.
class Made {
 public:
  Made(const Sizes& sizes, size_t attended, float softcap) {
    op.heads = sizes.heads;
    op.kv_heads = sizes.kv_heads;
    op.head_size = sizes.head_size;
    op.predictor_size = sizes.predictor_size;
    op.softcap = softcap;
    op.predictor = Tables(sizes.predictor_size, tables_[0], tables_[1]);
    op.others = Tables(sizes.head_size - sizes.predictor_size, tables_[2], tables_[3]);
    // Any that grow as those of the normal distribution do.
    for (size_t n = 1; n <= kPositions; ++n)
      quantiles_.push_back(n <= attended ? kNone : -1 + 2.5f * (1 - static_cast<float>(attended) / static_cast<float>(n)));
    op.quantiles = quantiles_.data();
  }
  Made(const Made&) = delete;

  SparkAttention op;

 private:
  static Rotary Tables(size_t width, std::vector<float>& cosines, std::vector<float>& sines) {
    for (size_t position = 0; position < kPositions; ++position)
      for (size_t i = 0; i < width / 2; ++i) {
        const double angle = static_cast<double>(position) * std::pow(100.0, -2.0 * static_cast<double>(i) / static_cast<double>(width));
        cosines.push_back(static_cast<float>(std::cos(angle)));
        sines.push_back(static_cast<float>(std::sin(angle)));
      }
    return {cosines.data(), sines.data()};
  }

  std::vector<float> tables_[4];
  std::vector<float> quantiles_;
};

// Of everything that a call reads, and what it writes.
struct Run {
  Run(const SparkAttention& op, testing::Random& random, size_t seen_, size_t tokens_)
      : seen(seen_),
        tokens(tokens_),
        past_key(random.Floats(op.kv_heads * Past() * op.head_size), 1),
        past_value(random.Floats(op.kv_heads * Past() * op.head_size), 2),
        projected(random.Floats(tokens * (op.heads + 2 * op.kv_heads) * op.head_size), 3) {}

  // There is room behind what was seen.
  size_t Past() const { return seen + 3; }
  size_t Capacity() const { return seen + tokens + 5; }

  SparkCache Cache(float* key, float* value) const {
    return {past_key.data(), past_value.data(), Past(), key, value, Capacity(), seen};
  }

  size_t seen, tokens;
  Misaligned past_key, past_value, projected;
};

// A product of `terms` entries of size 1 is off by `terms` units in the last place at most, a score of size s changes its
// exponential by as much times s, and sums over keys and softplus's few units are beside that.
double Tolerance(const SparkAttention& op, size_t visible) {
  return 8 * (static_cast<double>(op.head_size) + std::sqrt(static_cast<double>(visible))) * testing::kEpsilon * 4;
}

void Check(const Sizes& sizes, size_t attended, float softcap, size_t seen, size_t tokens) {
  SCOPED_TRACE(::testing::Message() << sizes.heads << " heads, " << sizes.kv_heads << " of keys, " << sizes.head_size << " wide, "
                                    << sizes.predictor_size << " predict, " << attended << " attended, " << seen << " + " << tokens);
  const Made made(sizes, attended, softcap);
  const SparkAttention& op = made.op;
  const double tolerance = Tolerance(op, seen + tokens);
  for (uint32_t seed = 1;; ++seed) {
    ASSERT_LT(seed, 200u);
    testing::Random random(seed);
    const Run run(op, random, seen, tokens);
    const reference::SparkAttended wanted = reference::SparkAttention(op, run.Cache(nullptr, nullptr), tokens, run.projected.data());
    // A key within rounding of the threshold may be chosen or not.
    if (wanted.margin < tolerance) continue;
    const size_t size = op.kv_heads * run.Capacity() * op.head_size;
    Misaligned key(std::vector<float>(size, 9), 4), value(std::vector<float>(size, 9), 5);
    Misaligned y(std::vector<float>(wanted.y.size()), 6);
    std::vector<int32_t> counts(tokens, -1);
    Scratch scratch;
    RunSparkAttention(op, run.Cache(key.data(), value.data()), tokens, run.projected.data(), y.data(), counts.data(), scratch,
                      testing::OnThreads(3));
    ASSERT_TRUE(y.Intact() && key.Intact() && value.Intact());
    for (size_t i = 0; i < wanted.y.size(); ++i) ASSERT_NEAR(y.data()[i], wanted.y[i], tolerance) << i;
    for (size_t t = 0; t < tokens; ++t) ASSERT_EQ(counts[t], wanted.attended[t]) << t;
    for (size_t head = 0; head < op.kv_heads; ++head)
      for (size_t i = 0; i < run.Capacity() * op.head_size; ++i) {
        const size_t place = head * run.Capacity() * op.head_size + i, fresh = i - seen * op.head_size;
        const bool is_past = i < seen * op.head_size, is_new = !is_past && fresh < tokens * op.head_size;
        const size_t from = is_past ? head * run.Past() * op.head_size + i : head * tokens * op.head_size + fresh;
        const double new_key = is_new ? wanted.keys[from] : 0, new_value = is_new ? wanted.values[from] : 0;
        ASSERT_NEAR(key.data()[place], is_past ? run.past_key.data()[from] : new_key, 4 * testing::kEpsilon * 8);
        ASSERT_EQ(value.data()[place], is_past ? run.past_value.data()[from] : static_cast<float>(new_value));
      }
    return;
  }
}

constexpr Sizes kSizes[] = {{4, 2, 16, 6}, {3, 1, 32, 16}, {2, 2, 20, 8}, {8, 1, 64, 32}, {1, 1, 6, 4}};

TEST(SparkAttention, AgreesWithPlainLoops) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    for (const Sizes& sizes : kSizes)
      for (float softcap : {0.0f, 3.0f})
        for (size_t seen : {0, 1, 30, 100})
          for (size_t tokens : {1, 2, 7}) Check(sizes, 8, softcap, seen, tokens);
  });
}

TEST(SparkAttention, TakesPromptsOfSeveralBlocks) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    Check(kSizes[0], 20, 0, 0, 150);
    Check(kSizes[1], 20, 0, 5, 64);
  });
}

TEST(SparkAttention, GivesATokenTheSameBitsWhateverComesWithIt) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    const Made made({4, 2, 32, 16}, 10, 0);
    const SparkAttention& op = made.op;
    constexpr size_t kTokens = 90;
    testing::Random random(3);
    const std::vector<float> projected = random.Floats(kTokens * 8 * 32);
    const auto fed = [&](size_t chunk, size_t threads) {
      std::vector<float> key(2 * kTokens * 32), value(key.size()), y(kTokens * 4 * 32);
      Scratch scratch;
      for (size_t seen = 0; seen < kTokens; seen += chunk) {
        // In place.
        const SparkCache cache = {key.data(), value.data(), kTokens, key.data(), value.data(), kTokens, seen};
        RunSparkAttention(op, cache, std::min(chunk, kTokens - seen), projected.data() + seen * 8 * 32, y.data() + seen * 4 * 32,
                          nullptr, scratch, testing::OnThreads(threads));
      }
      return y;
    };
    const std::vector<float> one_by_one = fed(1, 1);
    for (size_t chunk : {7, 64, 90})
      for (size_t threads : {1, 4}) {
        const std::vector<float> y = fed(chunk, threads);
        ASSERT_EQ(std::memcmp(y.data(), one_by_one.data(), y.size() * sizeof(float)), 0) << chunk << " " << threads;
      }
  });
}

TEST(SparkAttention, ReadsNothingElseOfKeysThatAreNotChosen) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    const Made made({1, 1, 32, 16}, 2, 0);
    const SparkAttention& op = made.op;
    constexpr size_t kSeen = 64;
    testing::Random random(5);
    std::vector<float> projected = random.Floats(3 * 32), key(80 * 32), value(80 * 32), y(32);
    // Half of the keys score far below the others, and have no numbers elsewhere.
    for (size_t i = 0; i < kSeen; ++i)
      for (size_t j = 0; j < 32; ++j) {
        const bool is_low = i % 2 == 0;
        const float towards = projected[j] * (is_low ? -1.0f : 1.0f);
        key[i * 32 + j] = j < 16 ? towards : is_low ? std::nanf("") : 0;
        value[i * 32 + j] = is_low ? std::nanf("") : 1;
      }
    SparkAttention unturned = op;
    const std::vector<float> ones(80 * 8, 1), zeros(80 * 8, 0), none(80, 0.5f);
    unturned.predictor = unturned.others = {ones.data(), zeros.data()};
    unturned.quantiles = none.data();
    const SparkCache cache = {key.data(), value.data(), 80, key.data(), value.data(), 80, kSeen};
    Scratch scratch;
    int32_t attended = 0;
    RunSparkAttention(unturned, cache, 1, projected.data(), y.data(), &attended, scratch, OnThisThread());
    EXPECT_LE(attended, static_cast<int32_t>(kSeen / 2 + 1));
    for (float entry : y) EXPECT_TRUE(std::isfinite(entry));
  });
}

TEST(SparkAttention, ShowsWhatIsNotANumber) {
  const Made made({1, 1, 16, 8}, 4, 0);
  std::vector<float> projected(3 * 16, 1), key(16 * 16, 1), value(16 * 16, 1), y(16);
  key[2 * 16] = std::nanf("");
  const SparkCache cache = {key.data(), value.data(), 16, key.data(), value.data(), 16, 10};
  Scratch scratch;
  RunSparkAttention(made.op, cache, 1, projected.data(), y.data(), nullptr, scratch, OnThisThread());
  for (float entry : y) EXPECT_TRUE(std::isnan(entry));
}

TEST(SparkAttention, AttendsToTheLargestScoreWhereNoneReachesTheThreshold) {
  const Made made({1, 1, 16, 8}, 1, 0);
  SparkAttention op = made.op;
  const std::vector<float> far(kPositions, 50);
  op.quantiles = far.data();
  testing::Random random(9);
  const std::vector<float> projected = random.Floats(3 * 16);
  std::vector<float> key = random.Floats(40 * 16), value = random.Floats(40 * 16), y(16);
  const SparkCache cache = {key.data(), value.data(), 40, key.data(), value.data(), 40, 30};
  Scratch scratch;
  int32_t attended = 0;
  RunSparkAttention(op, cache, 1, projected.data(), y.data(), &attended, scratch, OnThisThread());
  EXPECT_EQ(attended, 1);
  for (float entry : y) EXPECT_TRUE(std::isfinite(entry));
}

}  // namespace
}  // namespace lacuna
