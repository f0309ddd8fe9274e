// The sampler by itself. native-generation.test.ts compares its draws with those of the one in TypeScript.
#include "binding/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <vector>

namespace lacuna::binding {
namespace {

TEST(Exponential, IsWithinTwoUnitsInTheLastPlace) {
  for (double x = 0; x > -708; x -= 0.0137) {
    // std::exp is off by one unit at most, and the series by two.
    const double exact = std::exp(x);
    EXPECT_LE(std::abs(Exponential(x) - exact), 3 * std::numeric_limits<double>::epsilon() * exact) << x;
  }
  EXPECT_EQ(Exponential(0), 1);
  EXPECT_EQ(Exponential(-709), 0);
  EXPECT_EQ(Exponential(-std::numeric_limits<double>::infinity()), 0);
}

TEST(Random, IsUniformAndRepeatsItself) {
  Random a({7, 0}), b({7, 0}), c({0, 7});
  double sum = 0;
  int differing = 0;
  for (int i = 0; i < 4000; ++i) {
    const double x = a.Next();
    EXPECT_EQ(x, b.Next());
    differing += x != c.Next();
    ASSERT_GE(x, 0);
    ASSERT_LT(x, 1);
    sum += x;
  }
  // Four standard deviations of a mean of 4,000: sqrt(1 / 12 / 4000) each.
  EXPECT_NEAR(sum / 4000, 0.5, 4 * std::sqrt(1.0 / 12 / 4000));
  EXPECT_GT(differing, 3990);
}

std::map<int64_t, int> Drawn(const SamplingOptions& options, const std::vector<float>& logits, int draws = 2000) {
  Sampler sampler(options, logits.size());
  std::map<int64_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.Next(logits)];
  return counts;
}

// Probabilities 1/4, 1/8, 1/2, 1/8.
const std::vector<float> kLogits = {std::log(0.25f), std::log(0.125f), std::log(0.5f), std::log(0.125f)};

TEST(Sampler, DrawsWhatItsOptionsLeave) {
  const auto tokens = [](const SamplingOptions& options) {
    std::vector<int64_t> drawn;
    for (const auto& [token, count] : Drawn(options, kLogits)) drawn.push_back(token);
    return drawn;
  };
  using Tokens = std::vector<int64_t>;
  EXPECT_EQ(tokens({}), Tokens{2});
  EXPECT_EQ(tokens({.temperature = 1}), (Tokens{0, 1, 2, 3}));
  EXPECT_EQ(tokens({.temperature = 1, .top_k = 3}), (Tokens{0, 1, 2}));
  EXPECT_EQ(tokens({.temperature = 1, .top_k = 9}), (Tokens{0, 1, 2, 3}));
  EXPECT_EQ(tokens({.temperature = 1, .top_p = 0.7}), (Tokens{0, 2}));
  EXPECT_EQ(tokens({.temperature = 1, .min_p = 0.3}), (Tokens{0, 2}));
  EXPECT_EQ(tokens({.temperature = 1, .top_k = 3, .top_p = 0.4}), Tokens{2});
}

TEST(Sampler, DrawsInProportion) {
  // Four standard deviations of a half over 2,000 draws.
  EXPECT_NEAR(Drawn({.temperature = 1}, kLogits)[2], 1000, 4 * std::sqrt(2000 * 0.25));
}

TEST(Sampler, PenalisesWhatItHasSeen) {
  Sampler sampler({.repetition_penalty = 2}, 4);
  const std::vector<float> logits = {3, 2, -1, -1.5};
  EXPECT_EQ(sampler.Next(logits), 0);
  sampler.See(0);
  sampler.See(0);
  EXPECT_EQ(sampler.Next(logits), 1);
  sampler.See(1);
  EXPECT_EQ(sampler.Next(logits), 0);
}

TEST(Sampler, RefusesWhatIsNoDistribution) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), infinity}) {
    for (size_t place = 0; place < 3; ++place) {
      std::vector<float> logits = {1, 2, 3};
      logits[place] = bad;
      EXPECT_THROW(Sampler({}, 3).Next(logits), std::runtime_error);
    }
  }
  EXPECT_THROW(Sampler({}, 2).Next(std::vector<float>{-infinity, -infinity}), std::runtime_error);
  EXPECT_EQ(Sampler({.temperature = 1}, 2).Next(std::vector<float>{-infinity, 0}), 1);
}

// Logits that a sampler does not ask for may be any smaller values.
TEST(Sampler, DrawsTheSameFromTheLogitsThatItWants) {
  std::vector<SamplingOptions> all = {{}, {.repetition_penalty = 1.5}};
  for (double penalty : {1.0, 1.2})
    all.push_back({.temperature = 1.5, .top_k = 4, .top_p = 0.9, .min_p = 0.01, .repetition_penalty = penalty});
  for (const SamplingOptions& options : all) {
    Random random({3, 1});
    Sampler by_all(options, 60), by_wanted(options, 60);
    for (int i = 0; i < 40; ++i) {
      std::vector<float> logits(60), sorted;
      // Many are equal.
      for (float& logit : logits) logit = static_cast<float>(std::floor(12 * random.Next()) - 6);
      sorted = logits;
      std::sort(sorted.begin(), sorted.end(), std::greater<float>());
      const size_t wanted = by_wanted.Wanted();
      ASSERT_GT(wanted, 0u);
      const int64_t token = by_all.Next(logits);
      for (float& logit : logits)
        if (wanted < logits.size() && logit < sorted[wanted - 1]) logit = -std::numeric_limits<float>::infinity();
      ASSERT_EQ(by_wanted.Next(logits), token);
      for (Sampler* sampler : {&by_all, &by_wanted}) sampler->See(token);
    }
  }
  EXPECT_EQ(Sampler({.temperature = 1}, 60).Wanted(), 0u);
  EXPECT_EQ(Sampler({.repetition_penalty = 0.9}, 60).Wanted(), 0u);
}

}  // namespace
}  // namespace lacuna::binding
