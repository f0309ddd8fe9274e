// The kernels for GPUs against the plain loops. Without a GPU all of it is skipped, and the test says so.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "cuda/gated_ffn.h"
#include "cuda/statistical_top_k.h"
#include "reference/gated_ffn.h"
#include "reference/matrix.h"
#include "reference/statistical_top_k.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

using reference::StoredMatrix;
using Floats = std::vector<float>;

// A copy of an array in the device's memory.
template <class Value>
class OnDevice {
 public:
  OnDevice(const Value* values, size_t count) : bytes_(count * sizeof(Value)) {
    EXPECT_EQ(cudaMalloc(&data_, std::max<size_t>(1, bytes_)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values, bytes_, cudaMemcpyHostToDevice), cudaSuccess);
  }
  explicit OnDevice(const std::vector<Value>& values) : OnDevice(values.data(), values.size()) {}
  ~OnDevice() { cudaFree(data_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  Value* data() const { return static_cast<Value*>(data_); }
  std::vector<Value> Read() const {
    std::vector<Value> values(bytes_ / sizeof(Value));
    EXPECT_EQ(cudaMemcpy(values.data(), data_, bytes_, cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
  }

 private:
  size_t bytes_;
  void* data_ = nullptr;
};

class Cuda : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) GTEST_SKIP() << "There is no GPU";
  }
};

Floats Sizes(Floats values) {
  for (float& value : values) value = std::abs(value);
  return values;
}

struct Shape {
  size_t hidden, neurons, tokens, split;
};

struct Variant {
  Storage storage;
  Choice choice;
  Activation activation;
  // Biases, post-norm and mask.
  bool everything;
  bool choose_all;
};

// A block with random weights and tokens, here and on the device.
class Block {
 public:
  Block(const Shape& shape, const Variant& variant, uint32_t seed)
      : shape_(shape), variant_(variant), random_(seed), gate_(Weights(Gate().count)), up_(Weights(Up().count)),
        down_(Weights(shape.hidden)), gate_bias_(random_.Floats(shape.neurons)), up_bias_(random_.Floats(shape.neurons)),
        down_bias_(random_.Floats(shape.hidden)), post_norm_(random_.Floats(shape.hidden)),
        scores_(Sizes(random_.Floats(shape.neurons))), x_(random_.Floats(shape.tokens * shape.hidden)),
        residual_(random_.Floats(shape.tokens * shape.hidden, 4)), active_(new bool[shape.tokens]) {
    for (size_t t = 0; t < shape.tokens; ++t) active_[t] = !variant.everything || random_.Below(3) != 0;
  }

  void Check() {
    const OnDevice<float> x(x_), residual(residual_), y(Floats(x_.size(), NAN)), saturation(Floats(shape_.tokens, NAN));
    const OnDevice<int32_t> kept(std::vector<int32_t>(shape_.tokens, -1));
    const OnDevice<bool> active(active_.get(), shape_.tokens);
    GatedFfnTokens tokens;
    tokens.stream.tokens = shape_.tokens;
    tokens.stream.x = x.data();
    tokens.mask.active = variant_.everything ? active.data() : nullptr;
    tokens.mask.residual = residual.data();
    tokens.choose_all = variant_.choose_all;
    tokens.y = y.data();
    tokens.mask.saturation = variant_.everything ? saturation.data() : nullptr;
    tokens.kept = kept.data();
    Run(tokens);
    const Floats found = y.Read(), cosines = saturation.Read();
    const std::vector<int32_t> counts = kept.Read();
    for (size_t t = 0; t < shape_.tokens; ++t)
      CheckToken(t, found.data() + t * shape_.hidden, counts[t], variant_.everything ? &cosines[t] : nullptr);
  }

 private:
  Range Gate() const { return shape_.split == 0 ? Range{0, shape_.hidden} : Range{0, shape_.split}; }
  Range Up() const { return shape_.split == 0 ? Range{0, shape_.hidden} : Range{shape_.split, shape_.hidden - shape_.split}; }

  StoredMatrix Weights(size_t width) {
    const Floats values = random_.Floats(shape_.neurons * width, 1 / std::sqrt(static_cast<float>(width)));
    return StoredMatrix(variant_.storage, values, width);
  }

  GatedFfn Ffn() const {
    GatedFfn ffn;
    ffn.hidden = shape_.hidden;
    ffn.neurons = shape_.neurons;
    ffn.storage = variant_.storage;
    ffn.gate_inputs = Gate();
    ffn.up_inputs = Up();
    ffn.gate = gate_.matrix();
    ffn.up = up_.matrix();
    ffn.down = down_.matrix();
    if (variant_.everything) {
      ffn.gate_bias = gate_bias_.data();
      ffn.up_bias = up_bias_.data();
      ffn.down_bias = down_bias_.data();
      ffn.post_norm = {post_norm_.data(), 1e-6f};
    }
    ffn.score_weights = scores_.data();
    ffn.activation = variant_.activation;
    ffn.choice = variant_.choice;
    ffn.threshold = ffn.quantile = kCut;
    return ffn;
  }

  // Makes `ffn` refer to copies on the device.
  void Run(const GatedFfnTokens& tokens) const {
    GatedFfn ffn = Ffn();
    const size_t entry = variant_.storage == Storage::kBf16 ? 2 : 4;
    std::vector<std::unique_ptr<OnDevice<uint8_t>>> matrices;
    for (auto [matrix, width] : {std::pair{&ffn.gate, Gate().count}, {&ffn.up, Up().count}, {&ffn.down, shape_.hidden}}) {
      const auto* const bytes = static_cast<const uint8_t*>(matrix->data);
      matrices.push_back(std::make_unique<OnDevice<uint8_t>>(bytes, shape_.neurons * width * entry));
      matrix->data = matrices.back()->data();
    }
    std::vector<std::unique_ptr<OnDevice<float>>> vectors;
    for (auto [vector, count] : {std::pair{&ffn.gate_bias, shape_.neurons}, {&ffn.up_bias, shape_.neurons},
                                 {&ffn.down_bias, shape_.hidden}, {&ffn.post_norm.weight, shape_.hidden},
                                 {&ffn.score_weights, shape_.neurons}}) {
      if (*vector == nullptr) continue;
      vectors.push_back(std::make_unique<OnDevice<float>>(*vector, count));
      *vector = vectors.back()->data();
    }
    const OnDevice<uint8_t> workspace(std::vector<uint8_t>(cuda::GatedFfnWorkspace(ffn, tokens.stream.tokens), 0xff));
    ASSERT_EQ(cuda::RunGatedFfn(ffn, tokens, workspace.data(), nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

  reference::GatedFfnToken Reference(const GatedFfn& ffn, size_t token) const {
    return reference::RunGatedFfn(ffn, x_.data() + token * shape_.hidden, residual_.data() + token * shape_.hidden,
                                  variant_.choose_all);
  }

  // Neurons chosen when the cut is `factor` times as high.
  int KeptAt(float factor, size_t token) const {
    GatedFfn ffn = Ffn();
    ffn.threshold = ffn.quantile = kCut * factor;
    return Reference(ffn, token).kept;
  }

  void CheckToken(size_t token, const float* y, int32_t kept, const float* saturation) const {
    if (!active_[token]) {
      EXPECT_TRUE(std::all_of(y, y + shape_.hidden, [](float value) { return value == 0; }));
      EXPECT_EQ(kept, 0);
      EXPECT_EQ(saturation == nullptr ? 0 : *saturation, 0);
      return;
    }
    // A neuron within rounding of the cut may go either way.
    if (KeptAt(1 - 1e-4f, token) != KeptAt(1 + 1e-4f, token)) return;
    const reference::GatedFfnToken wanted = Reference(Ffn(), token);
    EXPECT_EQ(kept, wanted.kept);
    const double tolerance = Tolerance(token, wanted.raw);
    for (size_t i = 0; i < shape_.hidden; ++i)
      ASSERT_NEAR(y[i], wanted.y[i], tolerance) << "entry " << i;
    if (saturation == nullptr) return;
    // The cosine moves by at most |dy| / |h| and the rounding of three sums.
    double squares = 0;
    for (size_t i = 0; i < shape_.hidden; ++i) squares += std::pow(residual_[token * shape_.hidden + i], 2);
    const double hidden = static_cast<double>(shape_.hidden);
    const double slack = 2 * std::sqrt(hidden) * tolerance / std::sqrt(squares) + 4 * hidden * testing::kEpsilon;
    EXPECT_NEAR(*saturation, wanted.saturation, slack);
  }

  // As tests/gated_ffn_test.cc derives it: sums of magnitudes, by the same loops on absolute values, times the
  // roundings. Fast exponentials and tangents of the device are off by a few units more.
  double Tolerance(size_t token, const std::vector<double>& raw) const {
    const StoredMatrix gate = gate_.Sizes(), up = up_.Sizes(), down = down_.Sizes();
    const Floats gate_bias = Sizes(gate_bias_), up_bias = Sizes(up_bias_), down_bias = Sizes(down_bias_), x = Sizes(x_);
    GatedFfn ffn = Ffn();
    ffn.storage = Storage::kFp32;
    ffn.activation = Activation::kRelu;
    ffn.gate = gate.matrix();
    ffn.up = up.matrix();
    ffn.down = down.matrix();
    if (variant_.everything) {
      ffn.gate_bias = gate_bias.data();
      ffn.up_bias = up_bias.data();
      ffn.down_bias = down_bias.data();
      ffn.post_norm = {};
    }
    double largest = 0;
    for (double value : reference::RunGatedFfn(ffn, x.data() + token * shape_.hidden, nullptr, true).raw)
      largest = std::max(largest, value);
    const double product =
        1.13 * static_cast<double>(2 * shape_.hidden + shape_.neurons + 16) * testing::kEpsilon * largest;
    if (!variant_.everything) return product;
    // An RMS norm divides by the root mean square of what it normalises.
    double squares = 0, weight = 0;
    for (double value : raw) squares += value * value;
    for (float value : post_norm_) weight = std::max<double>(weight, std::abs(value));
    return 2 * product * weight / std::sqrt(squares / static_cast<double>(shape_.hidden) + 1e-6);
  }

  static constexpr float kCut = 0.5f;

  Shape shape_;
  Variant variant_;
  testing::Random random_;
  StoredMatrix gate_, up_, down_;
  Floats gate_bias_, up_bias_, down_bias_, post_norm_, scores_, x_, residual_;
  std::unique_ptr<bool[]> active_;
};

TEST_F(Cuda, GatedFfnAgreesWithPlainLoops) {
  // Around warps, blocks and pairs, and of a model's size.
  constexpr Shape kShapes[] = {{1, 1, 1, 0},   {24, 40, 3, 0},     {31, 33, 2, 0},      {64, 1025, 2, 0},
                               {65, 257, 5, 0}, {96, 2049, 1, 32}, {67, 130, 2, 33}, {640, 2048, 2, 0}};
  uint32_t seed = 1;
  for (const Shape& shape : kShapes)
    for (Storage storage : {Storage::kFp32, Storage::kBf16})
      for (const Choice& choice : {Choice{}, Choice{Measure::kActivation, Cut::kAbsolute}, Choice{Measure::kActivation, Cut::kMean},
                                   Choice{Measure::kGate, Cut::kDeviation, TopKMode::kSoft},
                                   Choice{Measure::kGate, Cut::kDeviation, TopKMode::kHard}})
        for (Activation activation : {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu, Activation::kRelu, Activation::kDrelu})
          for (bool everything : {false, true})
            for (bool choose_all : {false, true}) {
              SCOPED_TRACE(::testing::Message() << shape.hidden << "x" << shape.neurons << " split " << shape.split
                                                << " storage " << static_cast<int>(storage) << " measure "
                                                << static_cast<int>(choice.measure) << " cut "
                                                << static_cast<int>(choice.cut) << " activation "
                                                << static_cast<int>(activation) << (everything ? " everything" : "")
                                                << (choose_all ? " all" : ""));
              Block(shape, {storage, choice, activation, everything, choose_all}, ++seed).Check();
              if (HasFatalFailure()) return;
            }
}

TEST_F(Cuda, GatedFfnRefusesWhatItDoesNotHave) {
  GatedFfnTokens tokens;
  tokens.stream.tokens = 1;
  GatedFfn stored;
  stored.storage = Storage::kInt4;
  EXPECT_EQ(cuda::RunGatedFfn(stored, tokens, nullptr, nullptr), cudaErrorNotSupported);
  const float weight = 1;
  GatedFfn normed;
  normed.norm = {&weight, 0};
  EXPECT_EQ(cuda::RunGatedFfn(normed, tokens, nullptr, nullptr), cudaErrorNotSupported);
  for (const Choice& choice : {Choice{Measure::kProduct, Cut::kAbsolute}, Choice{Measure::kPredicted, Cut::kMean}}) {
    GatedFfn ffn;
    ffn.choice = choice;
    EXPECT_EQ(cuda::RunGatedFfn(ffn, tokens, nullptr, nullptr), cudaErrorNotSupported);
  }
}

TEST_F(Cuda, StatisticalTopKAgreesWithPlainLoops) {
  for (TopKMode mode : {TopKMode::kSoft, TopKMode::kHard})
    for (float quantile : {-1.0f, 0.0f, 1.405f})
      for (size_t columns : {1, 2, 31, 32, 33, 1023, 1024, 1025, 13824}) {
        testing::Random random(static_cast<uint32_t>(columns));
        const size_t rows = 3;
        const Floats values = random.Floats(rows * columns);
        const OnDevice<float> x(values), y(Floats(values.size(), NAN));
        const OnDevice<int32_t> kept(std::vector<int32_t>(rows, -1));
        const StatisticalTopK op{mode, quantile};
        ASSERT_EQ(cuda::RunStatisticalTopK(op, rows, columns, x.data(), y.data(), kept.data(), nullptr), cudaSuccess);
        const Floats found = y.Read();
        const std::vector<int32_t> counts = kept.Read();
        for (size_t row = 0; row < rows; ++row) {
          const std::vector<double> wide(values.begin() + static_cast<std::ptrdiff_t>(row * columns),
                                         values.begin() + static_cast<std::ptrdiff_t>((row + 1) * columns));
          double largest = 0;
          for (double value : wide) largest = std::max(largest, std::abs(value));
          // Mean and deviation are sums of `columns` floats, and y is a difference of numbers as large as the largest
          // entry.
          const double tolerance = (static_cast<double>(columns) + 8) * testing::kEpsilon * largest;
          const double theta = reference::StatisticalThreshold(wide, quantile);
          const reference::TopK wanted = reference::StatisticalTopK(wide, quantile, mode == TopKMode::kSoft);
          int unclear = 0;
          for (size_t i = 0; i < columns; ++i) {
            const bool near = std::abs(wide[i] - theta) <= tolerance;
            unclear += near;
            if (near && mode == TopKMode::kHard) continue;
            ASSERT_NEAR(found[row * columns + i], wanted.y[i], tolerance);
          }
          ASSERT_LE(std::abs(counts[row] - wanted.kept), unclear);
        }
      }
}

}  // namespace
}  // namespace lacuna
