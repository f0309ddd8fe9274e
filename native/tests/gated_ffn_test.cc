#include "kernels/gated_ffn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "reference/gated_ffn.h"
#include "reference/matrix.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

using reference::StoredMatrix;
using testing::Misaligned;

constexpr Storage kStorages[] = {Storage::kFp32, Storage::kBf16, Storage::kFp16, Storage::kInt8,
                                 Storage::kInt6, Storage::kInt5, Storage::kInt4};

// None, and every measure by each of its cuts.
std::vector<Choice> AllChoices() {
  std::vector<Choice> choices = {{}};
  for (size_t m = 0; m < std::size(kMeasureNames); ++m)
    for (Cut cut : {Cut::kAbsolute, Cut::kMean, Cut::kDeviation}) {
      const auto measure = static_cast<Measure>(m);
      if (!HasCut(measure, cut)) continue;
      choices.push_back({measure, cut, TopKMode::kSoft});
      if (cut == Cut::kDeviation) choices.push_back({measure, cut, TopKMode::kHard});
    }
  return choices;
}

std::string NameOf(const Choice& choice) {
  std::string name = kMeasureNames[static_cast<size_t>(choice.measure)];
  if (!Chooses(choice)) return name;
  name.append("_").append(kCutNames[static_cast<size_t>(choice.cut)]);
  if (choice.cut == Cut::kDeviation) name.append("_").append(kTopKModeNames[static_cast<size_t>(choice.mode)]);
  return name;
}
constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu, Activation::kRelu,
                                       Activation::kDrelu};

struct Options {
  size_t hidden = 24;
  size_t neurons = 40;
  size_t tokens = 1;
  Choice choice = {};
  Storage storage = Storage::kFp32;
  // Entries of x that the gate reads, while up reads the others; 0 when both read all.
  size_t split = 0;
  Activation activation = Activation::kSilu;
  bool biases = false;
  bool post_norm = false;
  // x and skip are added and normed.
  bool normed = false;
  bool masked = false;
  bool choose_all = false;
  float cut = 0.5f;
  size_t offset = 0;
  // Rows in blocks are in records. The gate's are too, because a predictor's kernel reads them there.
  bool records = false;
  uint32_t seed = 1;
};

// A block with random weights and tokens, none of them aligned.
class Block {
 public:
  explicit Block(const Options& options)
      : options_(options),
        random_(options.seed),
        // Gates are of size 1 or so, where activations are curved.
        gate_(Projection(GateInputs().count)),
        up_(Projection(UpInputs().count)),
        down_(StoredMatrix(options.storage, random_.Floats(options.neurons * options.hidden), options.hidden, options.offset)),
        predictor_gate_(Predictor(gate_)),
        predictor_up_(Predictor(up_)),
        gate_bias_(Vector(options.neurons)),
        up_bias_(Vector(options.neurons)),
        down_bias_(Vector(options.hidden)),
        post_norm_(Vector(options.hidden)),
        score_weights_(Sizes(Vector(options.neurons))),
        x_(Rows(options.tokens, 1)),
        residual_(Rows(options.tokens, 4)),
        norm_(Vector(options.hidden)),
        skip_(Rows(options.tokens, 1)) {
    for (size_t t = 0; t < options.tokens; ++t) active_.push_back(!options.masked || random_.Below(3) != 0);
  }

  GatedFfn Ffn() {
    GatedFfn ffn;
    ffn.hidden = options_.hidden;
    ffn.neurons = options_.neurons;
    ffn.storage = options_.storage;
    ffn.gate_inputs = GateInputs();
    ffn.up_inputs = UpInputs();
    ffn.gate = gate_.matrix();
    ffn.up = up_.matrix();
    ffn.down = down_.matrix();
    if (options_.records) {
      using Parts = std::vector<reference::StoredRecords::Part>;
      const bool nested = IsNested(options_.choice);
      const auto part = [&](const StoredMatrix& matrix) {
        return RecordPart{nested ? Storage::kInt4 : options_.storage, matrix.width(), !nested};
      };
      const Parts parts = {
          {ffn.gate, part(gate_)}, {ffn.up, part(up_)}, {ffn.down, {options_.storage, down_.width()}}};
      records_.emplace(options_.neurons, parts, options_.offset);
      ffn.gate = records_->matrix(0);
      ffn.up = records_->matrix(1);
      ffn.down = records_->matrix(2);
    }
    ffn.predictor_gate = predictor_gate_.matrix();
    ffn.predictor_up = predictor_up_.matrix();
    ffn.gate_bias = options_.biases ? gate_bias_.data() : nullptr;
    ffn.up_bias = options_.biases ? up_bias_.data() : nullptr;
    ffn.down_bias = options_.biases ? down_bias_.data() : nullptr;
    ffn.post_norm = {options_.post_norm ? post_norm_.data() : nullptr, 1e-6f};
    if (options_.normed) ffn.norm = {norm_.data(), 1e-6f};
    ffn.score_weights = score_weights_.data();
    ffn.activation = options_.activation;
    ffn.choice = options_.choice;
    ffn.threshold = options_.cut;
    ffn.quantile = options_.cut;
    return ffn;
  }

  struct Result {
    std::vector<float> y, saturation, sum;
    std::vector<int32_t> kept;
    bool operator==(const Result& other) const = default;
  };

  // Tokens [first, first + count).
  Result Run(size_t first, size_t count, const Parallel& parallel) {
    Result result{std::vector<float>(count * options_.hidden, NAN), std::vector<float>(options_.masked ? count : 0, NAN),
                  std::vector<float>(options_.normed ? count * options_.hidden : 0, NAN), std::vector<int32_t>(count, -1)};
    const std::unique_ptr<bool[]> active(new bool[count]);
    for (size_t t = 0; t < count; ++t) active[t] = active_[first + t];
    GatedFfnTokens tokens;
    tokens.stream.tokens = count;
    tokens.stream.x = x_.data() + first * options_.hidden;
    if (options_.normed) {
      tokens.stream.skip = skip_.data() + first * options_.hidden;
      tokens.stream.sum = result.sum.data();
    }
    tokens.mask.active = options_.masked ? active.get() : nullptr;
    tokens.mask.residual = options_.normed ? result.sum.data() : residual_.data() + first * options_.hidden;
    tokens.choose_all = options_.choose_all;
    tokens.y = result.y.data();
    tokens.mask.saturation = options_.masked ? result.saturation.data() : nullptr;
    tokens.kept = result.kept.data();
    RunGatedFfn(Ffn(), tokens, scratch_, parallel);
    return result;
  }
  Result Run(const Parallel& parallel) { return Run(0, options_.tokens, parallel); }

  reference::GatedFfnToken Reference(size_t token, float cut) {
    GatedFfn ffn = Ffn();
    ffn.threshold = ffn.quantile = cut;
    const size_t start = token * options_.hidden;
    return reference::RunGatedFfn(ffn, x_.data() + start, residual_.data() + start, options_.choose_all);
  }

  // Whether no neuron is so near the cut that rounding could change the decision.
  bool IsClear(size_t token) {
    return Reference(token, options_.cut * (1 - 1e-4f)).kept == Reference(token, options_.cut * (1 + 1e-4f)).kept;
  }

  // The same block by magnitudes: with relu and no choice, its result is the sum of all of them.
  Block Magnitudes() const {
    Block block(*this);
    block.options_.choice = {};
    block.options_.activation = Activation::kRelu;
    block.options_.post_norm = false;
    block.options_.storage = Storage::kFp32;
    block.options_.records = false;
    for (StoredMatrix* part : {&block.gate_, &block.up_, &block.down_}) *part = part->Sizes();
    if (IsNested(options_.choice)) {
      block.gate_ = SizesOfPlanes(predictor_gate_, gate_);
      block.up_ = SizesOfPlanes(predictor_up_, up_);
    }
    for (Misaligned* part : {&block.gate_bias_, &block.up_bias_, &block.down_bias_, &block.x_}) *part = Sizes(*part);
    return block;
  }

  // Every product is a sum of at most `neurons` terms of sums of `hidden` terms, each rounded. The slope of activations
  // is at most 1.13, and their own error is within the 8. An RMS norm divides by the root mean square of its input.
  double Tolerance(Block& magnitudes, size_t token, const std::vector<double>& raw) const {
    double largest = 0;
    for (double value : magnitudes.Reference(token, 0).raw) largest = std::max(largest, value);
    const double product = 1.13 * static_cast<double>(2 * options_.hidden + options_.neurons + 8) * testing::kEpsilon * largest;
    if (!options_.post_norm) return product;
    double squares = 0, weight = 0;
    for (double value : raw) squares += value * value;
    for (size_t i = 0; i < options_.hidden; ++i) weight = std::max<double>(weight, std::abs(post_norm_.data()[i]));
    return 2 * product * weight / std::sqrt(squares / static_cast<double>(options_.hidden) + 1e-6);
  }

  double ResidualSize(size_t token) {
    double squares = 0;
    for (size_t i = 0; i < options_.hidden; ++i) squares += std::pow(residual_.data()[token * options_.hidden + i], 2);
    return std::sqrt(squares);
  }

  bool active(size_t token) const { return active_[token]; }
  float NormWeight(size_t i) const { return norm_.data()[i]; }

  // x + skip.
  std::vector<float> Sum() const {
    std::vector<float> sum(x_.data(), x_.data() + x_.size());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += skip_.data()[i];
    return sum;
  }

  // The stream's norm as kernels compute it, bit for bit: y of neurons that are 1 times an entry, with a `down` that
  // gives it back.
  std::vector<float> Normed() {
    const size_t n = options_.hidden;
    std::vector<float> identity(n * n), ones(n, 1.0f), zeros(n * n), y(options_.tokens * n);
    for (size_t i = 0; i < n; ++i) identity[i * n + i] = 1;
    GatedFfn ffn;
    ffn.hidden = ffn.neurons = n;
    ffn.gate_inputs = ffn.up_inputs = {0, n};
    ffn.gate.data = zeros.data();
    ffn.gate_bias = ones.data();
    ffn.up.data = ffn.down.data = identity.data();
    ffn.activation = Activation::kRelu;
    ffn.norm = {norm_.data(), 1e-6f};
    GatedFfnTokens tokens;
    tokens.stream = {options_.tokens, x_.data(), skip_.data()};
    tokens.y = y.data();
    RunGatedFfn(ffn, tokens, scratch_, OnThisThread());
    return y;
  }

  // The same block and tokens, after the norm.
  Block AfterNorm() {
    Block block(*this);
    block.options_.normed = false;
    block.x_ = Misaligned(Normed(), options_.offset);
    block.residual_ = Misaligned(Sum(), options_.offset);
    return block;
  }
  // Makes neuron j show wherever its gate is read.
  void PoisonGate(size_t j) { gate_.Poison(j); }
  void PoisonUp(size_t j) { up_.Poison(j); }
  void PoisonDown(size_t j) { down_.Poison(j); }

 private:
  Range GateInputs() const { return {0, options_.split == 0 ? options_.hidden : options_.split}; }
  Range UpInputs() const {
    return options_.split == 0 ? GateInputs() : Range{options_.split, options_.hidden - options_.split};
  }
  // For gate or up, or their lower plane.
  StoredMatrix Projection(size_t width) {
    const auto values = random_.Floats(options_.neurons * width, 1 / std::sqrt(static_cast<float>(width)));
    if (IsNested(options_.choice)) return StoredMatrix(reference::Plane::kLower, values, width, options_.offset);
    return StoredMatrix(options_.storage, values, width, options_.offset);
  }
  // The same numbers in 4 bits.
  StoredMatrix Predictor(const StoredMatrix& of) const {
    if (IsNested(options_.choice)) return StoredMatrix(reference::Plane::kUpper, of.values(), of.width(), options_.offset);
    return StoredMatrix(Storage::kInt4, of.values(), of.width(), options_.offset);
  }
  static StoredMatrix SizesOfPlanes(const StoredMatrix& upper, const StoredMatrix& lower) {
    std::vector<float> sizes = upper.Sizes().values();
    const std::vector<float> further = lower.Sizes().values();
    for (size_t i = 0; i < sizes.size(); ++i) sizes[i] += further[i] / 16;
    return StoredMatrix(Storage::kFp32, sizes, upper.width());
  }
  Misaligned Rows(size_t count, float scale) {
    return Misaligned(random_.Floats(count * options_.hidden, scale), options_.offset);
  }
  Misaligned Vector(size_t count) { return Misaligned(random_.Floats(count), options_.offset); }
  Misaligned Sizes(Misaligned values) const {
    for (size_t i = 0; i < values.size(); ++i) values.data()[i] = std::abs(values.data()[i]);
    return values;
  }

  Options options_;
  testing::Random random_;
  StoredMatrix gate_, up_, down_, predictor_gate_, predictor_up_;
  std::optional<reference::StoredRecords> records_;
  Misaligned gate_bias_, up_bias_, down_bias_, post_norm_, score_weights_, x_, residual_, norm_, skip_;
  std::vector<bool> active_;
  Scratch scratch_;

 public:
  Block(const Block& other)
      : options_(other.options_),
        random_(other.random_),
        gate_(other.gate_),
        up_(other.up_),
        down_(other.down_),
        predictor_gate_(other.predictor_gate_),
        predictor_up_(other.predictor_up_),
        gate_bias_(other.gate_bias_),
        up_bias_(other.up_bias_),
        down_bias_(other.down_bias_),
        post_norm_(other.post_norm_),
        score_weights_(other.score_weights_),
        x_(other.x_),
        residual_(other.residual_),
        norm_(other.norm_),
        skip_(other.skip_),
        active_(other.active_) {}
};

// Returns the number of tokens that were compared.
int CheckAgainstLoops(const Options& options, const Parallel& parallel) {
  Block block(options);
  Block magnitudes = block.Magnitudes();
  // By each instruction set. The plain loops, which take longer, run once for all of them.
  std::vector<std::pair<std::string, Block::Result>> results;
  testing::ForEachTarget([&](const std::string& target) { results.emplace_back(target, block.Run(parallel)); });
  int compared = 0;
  for (size_t token = 0; token < options.tokens; ++token) {
    if (!block.IsClear(token)) continue;
    ++compared;
    const bool active = block.active(token);
    const reference::GatedFfnToken wanted = block.Reference(token, options.cut);
    const double tolerance = active ? block.Tolerance(magnitudes, token, wanted.raw) : 0;
    // The cosine moves by at most |dy| / |h| and the rounding of three sums.
    const double hidden = static_cast<double>(options.hidden);
    const double slack =
        options.masked ? 2 * std::sqrt(hidden) * tolerance / block.ResidualSize(token) + 4 * hidden * testing::kEpsilon : 0;
    for (const auto& [target, got] : results) {
      SCOPED_TRACE(target);
      for (size_t i = 0; i < options.hidden; ++i)
        EXPECT_NEAR(got.y[token * options.hidden + i], active ? wanted.y[i] : 0, tolerance) << "token " << token << ", " << i;
      EXPECT_EQ(got.kept[token], active ? wanted.kept : 0) << "token " << token;
      if (!options.masked) continue;
      EXPECT_NEAR(got.saturation[token], active ? wanted.saturation : 0, active ? slack : 0) << "token " << token;
    }
  }
  return compared;
}

using Case = std::tuple<Choice, Storage>;

// Every choice in every storage that has it.
std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Choice& choice : AllChoices())
    for (Storage storage : kStorages)
      if (!IsNested(choice) || storage == Storage::kInt8) cases.emplace_back(choice, storage);
  return cases;
}

class GatedFfnOf : public ::testing::TestWithParam<Case> {
 protected:
  static Choice choice() { return std::get<0>(GetParam()); }
  static Storage storage() { return std::get<1>(GetParam()); }
};

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  return NameOf(std::get<0>(info.param)) + "_" + kStorageNames[static_cast<size_t>(std::get<1>(info.param))];
}
INSTANTIATE_TEST_SUITE_P(All, GatedFfnOf, ::testing::ValuesIn(Cases()), CaseName);

TEST_P(GatedFfnOf, AgreesWithPlainLoopsAtOddSizes) {
  int compared = 0;
  uint32_t seed = 1;
  // Around one vector and one block, around one chunk of neurons, around a tile of tokens.
  for (size_t hidden : {2, 7, 32, 65, 300})
    for (size_t neurons : {1, 5, 127, 128, 129, 300})
      for (size_t tokens : {1, 2, 5}) {
        Options options{.hidden = hidden, .neurons = neurons, .tokens = tokens};
        options.choice = choice();
        options.storage = storage();
        options.seed = ++seed;
        options.offset = seed % 16;
        options.activation = kActivations[seed % std::size(kActivations)];
        options.cut = seed % 3 == 0 ? 1.2f : 0.3f;
        options.biases = seed % 2 == 0;
        options.post_norm = seed % 5 == 0;
        options.masked = seed % 3 == 1;
        options.choose_all = seed % 7 == 0;
        options.split = seed % 4 == 1 ? (hidden + 1) / 2 : 0;
        options.records = IsBlocked(storage()) && seed % 2 == 1;
        compared += CheckAgainstLoops(options, testing::OnThreads(3));
        if (HasFailure()) FAIL() << hidden << " x " << neurons << ", " << tokens << " tokens, seed " << seed;
      }
  EXPECT_GT(compared, 150);
}

TEST_P(GatedFfnOf, IsTheSameWhateverTokensComeAlongAndHoweverManyThreads) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    for (float cut : {0.1f, 1.4f}) {
      // More than one block of tokens, more than one range of columns, more than one group of scales.
      Options options{.hidden = 530, .neurons = 290, .tokens = 70, .masked = true, .cut = cut};
      options.choice = choice();
      options.storage = storage();
      options.post_norm = true;
      options.records = IsBlocked(storage()) && cut > 1;
      Block block(options);
      const Block::Result together = block.Run(OnThisThread());
      ASSERT_TRUE(block.Run(testing::OnThreads(4)) == together);
      for (size_t token : {0, 3, 66, 69}) {
        const Block::Result alone = block.Run(token, 1, testing::OnThreads(2));
        ASSERT_TRUE(std::equal(alone.y.begin(), alone.y.end(), together.y.begin() + static_cast<std::ptrdiff_t>(token * 530)));
        ASSERT_EQ(alone.saturation[0], together.saturation[token]);
        ASSERT_EQ(alone.kept[0], together.kept[token]);
      }
    }
  });
}

TEST_P(GatedFfnOf, NormsTheStreamFirst) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    // One token, which has no separate phase for the gate, and more than one block of tokens.
    for (size_t tokens : {1, 5, 70}) {
      Options options{.hidden = 70, .neurons = 150, .tokens = tokens, .normed = true, .offset = 3};
      options.choice = choice();
      options.storage = storage();
      options.masked = tokens != 1;
      options.split = tokens == 5 ? 30 : 0;
      Block block(options);
      Block after = block.AfterNorm();
      const Block::Result got = block.Run(testing::OnThreads(3)), wanted = after.Run(OnThisThread());
      ASSERT_EQ(got.sum, block.Sum());
      ASSERT_EQ(got.y, wanted.y);
      ASSERT_EQ(got.kept, wanted.kept);
      ASSERT_EQ(got.saturation, wanted.saturation);
    }
  });
}

TEST(GatedFfn, NormIsThatOfPlainLoops) {
  testing::ForEachTarget([](const std::string& target) {
    for (size_t hidden : {1, 7, 32, 65, 300}) {
      SCOPED_TRACE(target + ", " + std::to_string(hidden));
      Block block(Options{.hidden = hidden, .tokens = 3, .normed = true, .offset = hidden % 5});
      const std::vector<float> got = block.Normed(), sum = block.Sum();
      for (size_t token = 0; token < 3; ++token) {
        double squares = 0;
        for (size_t i = 0; i < hidden; ++i) squares += std::pow(sum[token * hidden + i], 2);
        const double scale = 1 / std::sqrt(squares / static_cast<double>(hidden) + 1e-6);
        for (size_t i = 0; i < hidden; ++i) {
          const double wanted = sum[token * hidden + i] * scale * block.NormWeight(i);
          // Half the error of a sum of this many squares, and a few roundings.
          ASSERT_NEAR(got[token * hidden + i], wanted, static_cast<double>(hidden / 2 + 8) * testing::kEpsilon * std::abs(wanted));
        }
      }
    }
  });
}

TEST_P(GatedFfnOf, ReadsOnlyChosenRows) {
  if (!Chooses(choice())) return;
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    for (size_t tokens : {1, 5}) {
      Options options{.hidden = 40, .neurons = 140, .tokens = tokens, .cut = 1.3f};
      options.choice = choice();
      options.storage = storage();
      options.records = IsBlocked(storage()) && tokens == 1;
      Block block(options);
      const Block::Result before = block.Run(OnThisThread());
      size_t poisoned = 0;
      for (size_t j = 0; j < options.neurons; ++j) {
        Block changed(block);
        changed.PoisonDown(j);
        bool used = false;
        for (size_t t = 0; t < tokens; ++t) used |= std::isnan(changed.Reference(t, options.cut).y[0]);
        if (used) continue;
        if (FactsOf(choice()).gate_rows) block.PoisonGate(j);
        if (FactsOf(choice()).up_rows) block.PoisonUp(j);
        block.PoisonDown(j);
        ++poisoned;
      }
      ASSERT_GT(poisoned, 15u);
      ASSERT_TRUE(block.Run(OnThisThread()) == before);
    }
  });
}

TEST(GatedFfn, IsTheSameFromRecordsAndFromMatrices) {
  for (const auto& [choice, storage] : Cases()) {
    if (!IsBlocked(storage)) continue;
    for (size_t tokens : {1, 3}) {
      Options options{.hidden = 70, .neurons = 150, .tokens = tokens, .choice = choice, .storage = storage};
      const Block::Result apart = Block(options).Run(OnThisThread());
      options.records = true;
      EXPECT_TRUE(Block(options).Run(OnThisThread()) == apart) << NameOf(choice);
    }
  }
}

TEST(GatedFfn, WithNothingChosenIsTheBias) {
  for (size_t tokens : {1, 6}) {
    Options options{.tokens = tokens, .choice = {Measure::kActivation, Cut::kAbsolute}, .biases = true, .cut = 1e9f};
    Block block(options);
    const Block::Result got = block.Run(OnThisThread());
    for (size_t i = 0; i < got.y.size(); ++i) ASSERT_EQ(got.y[i], block.Ffn().down_bias[i % options.hidden]);
    EXPECT_EQ(got.kept, std::vector<int32_t>(tokens, 0));
  }
}

TEST(GatedFfn, ShowsWhatIsNotANumber) {
  for (const auto& [choice, storage] : Cases()) {
    // A choice without the gate may leave out a neuron whose gate is NaN. Here it leaves out none.
    const float cut = FactsOf(choice).gate_rows ? 0.0f : 1.0f;
    Block block(Options{.tokens = 1, .choice = choice, .storage = storage, .cut = cut});
    block.PoisonGate(5);
    EXPECT_TRUE(std::isnan(block.Run(OnThisThread()).y[0])) << NameOf(choice);
  }
}

TEST(GatedFfn, OfNoTokensDoesNothing) {
  Block block(Options{.tokens = 1});
  EXPECT_TRUE(block.Run(0, 0, OnThisThread()).y.empty());
}

}  // namespace
}  // namespace lacuna
