#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>

#include "kernels/decoder.h"
#include "kernels/screened_product.h"
#include "ops/decoder_inputs.h"
#include "ops/operators.h"
#include "ops/vocabulary.h"
#include "ops/wanted_logits.h"

namespace lacuna {
namespace {

namespace port = norm_product;

// The last `count` tokens.
Stream LastOf(const Stream& stream, size_t count, size_t hidden) {
  const size_t before = (stream.tokens - count) * hidden;
  return {count, stream.x + before, stream.skip == nullptr ? nullptr : stream.skip + before, nullptr};
}

class NormProductKernel {
 public:
  static constexpr auto kInputs = port::kInputs;
  static constexpr auto kOutputs = port::kOutputs;

  explicit NormProductKernel(const ort::Node& node)
      : storage_(BlockStorageOf(node)),
        inputs_(node, port::kInputNames),
        epsilon_(node.Float(attribute::kEpsilon)),
        softcap_(node.Float(attribute::kSoftcap)) {}

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(port::kX);
    const Stream stream = StreamOf(call, x, call.Input(port::kSkip));
    const int64_t hidden = x.shape[2];
    NormProduct part;
    part.storage = storage_;
    part.norm = NormOf(call, "norm", inputs_.Get(call, port::kNorm), hidden, epsilon_);
    const BlockTensors weight = {inputs_.Get(call, port::kWeight), inputs_.Get(call, port::kWeightScales),
                                 inputs_.Get(call, port::kWeightZeroPoints), {}};
    part.weight = BlockMatrixOf(call, "weight", weight, storage_, static_cast<size_t>(hidden), kMostWords);
    part.softcap = softcap_;
    float* y = call.Output<float>(0, {x.shape[0], x.shape[1], static_cast<int64_t>(part.weight.rows)});
    const WantedLogits wanted = WantedOf(y);
    const Stream read = LastOf(stream, std::min(wanted.tokens, stream.tokens), part.weight.columns);
    float* to = y + (stream.tokens - read.tokens) * part.weight.rows;
    TakenScratch scratch;
    if (!IsScreened(wanted.largest, part.weight)) return RunNormProduct(part, read, to, *scratch, call.Threads());
    const Screen& screen = ScreenOf(part.weight, call.Threads());
    const size_t computed = RunScreenedProduct(part, screen, wanted.largest, read, to, *scratch, call.Threads());
    if (computed * kMostComputed > read.tokens * part.weight.rows) left_out_ = kLeftOut;
  }

 private:
  // Scattered rows are read at a quarter of the rate of rows in order. If a call must read more than one row in this
  // number, for example because many tokens are about equally likely, this number of calls compute all rows:
  // predictions change slowly.
  static constexpr size_t kMostComputed = 16;
  static constexpr int kLeftOut = 8;

  bool IsScreened(size_t largest, const BlockMatrix& weight) {
    const bool is_constant = inputs_.IsConstant(port::kWeight) && inputs_.IsConstant(port::kWeightScales) &&
                             (weight.stored.zero_points == nullptr || inputs_.IsConstant(port::kWeightZeroPoints));
    if (storage_ != Storage::kInt8 || !is_constant) return false;
    if (largest == 0 || largest > MostLargest(weight.rows)) return false;
    if (left_out_.load(std::memory_order_relaxed) <= 0) return true;
    left_out_.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }

  // Made when it is first wanted. Half as large as the weight.
  const Screen& ScreenOf(const BlockMatrix& weight, const Parallel& parallel) {
    std::call_once(is_made_, [&] { screen_.emplace(weight, parallel); });
    return *screen_;
  }

  Storage storage_;
  NodeInputs<port::kInputCount> inputs_;
  float epsilon_;
  float softcap_;
  std::once_flag is_made_;
  std::optional<Screen> screen_;
  std::atomic<int> left_out_{0};
};

}  // namespace

void AddNormProduct(ort::Operators& operators) {
  ort::AddOperators<NormProductKernel>(operators, port::kName, kOperatorSet, port::kBodies);
}

}  // namespace lacuna
