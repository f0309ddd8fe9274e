#include "kernels/spark_attention.h"

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/limits.h"
#include "ops/decoder_inputs.h"
#include "ops/ffn_node.h"
#include "ops/operators.h"
#include "ops/vocabulary.h"

namespace lacuna {
namespace {

using namespace spark_attention;

class SparkAttentionKernel {
 public:
  static constexpr auto kInputs = spark_attention::kInputs;
  static constexpr auto kOutputs = spark_attention::kOutputs;

  explicit SparkAttentionKernel(const ort::Node& node) : inputs_(node, kInputNames) {
    op_.heads = static_cast<size_t>(node.Int(attribute::kNumHeads, 1, kMostHeads));
    op_.kv_heads = static_cast<size_t>(node.Int(attribute::kKvNumHeads, 1, kMostHeads));
    op_.predictor_size = static_cast<size_t>(node.Int(attribute::kPredictorSize, 2, kMostHeadSize));
    op_.softcap = node.Float(attribute::kSoftcap);
    if (op_.heads % op_.kv_heads != 0)
      throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + node.op_type() + ": num_heads is no multiple of kv_num_heads");
  }

  void Compute(ort::Call& call) {
    const ort::Tensor projected = call.Input(kProjected), past_key = call.Input(kPastKey), past_value = call.Input(kPastValue);
    const SparkAttention op = Bind(call, past_key);
    const auto head = static_cast<int64_t>(op.head_size), heads = static_cast<int64_t>(op.heads);
    const auto kv_heads = static_cast<int64_t>(op.kv_heads);
    if (projected.shape.rank() != 3) call.Refuse("expected [b, s, size] for input projected but received " + projected.shape.Text());
    const int64_t rows = projected.shape[0], tokens = projected.shape[1];
    call.Expect("projected", projected, {rows, tokens, (heads + 2 * kv_heads) * head});
    if (ort::Shape{rows, tokens}.elements() > static_cast<size_t>(kMostTokens))
      call.Refuse("expected at most " + std::to_string(kMostTokens) + " tokens but received " + projected.shape.Text());
    const ort::Shape past = {rows, kv_heads, past_key.shape[2], head};
    call.Expect("past_key", past_key, past);
    call.Expect("past_value", past_value, past);
    const int64_t positions = inputs_.Get(call, kQuantiles).shape[0];
    const int64_t total = TotalLengthOf(call, call.Input(kTotalSequenceLength), tokens, positions);
    // As in GroupQueryAttention: a cache keeps its capacity.
    const ort::Shape present = {rows, kv_heads, std::max(past[2], total), head};
    const std::vector<size_t> seen = SeenTokens(call, call.Input(kSeqlensK), {rows, tokens, total, positions, past[2], present[2]});
    float* const y = call.Output<float>(kYOutput, {rows, tokens, heads * head});
    float* const key = call.Output<float>(kPresentKeyOutput, present);
    float* const value = call.Output<float>(kPresentValueOutput, present);
    int32_t* const attended = call.OptionalOutput<int32_t>(kAttendedOutput, {rows, tokens});
    TakenScratch scratch;
    for (int64_t row = 0; row < rows; ++row) {
      const auto of_row = [row](auto* data, int64_t size) { return data == nullptr ? data : data + row * size; };
      const int64_t past_size = kv_heads * past[2] * head, size = kv_heads * present[2] * head;
      const SparkCache cache = {of_row(past_key.As<float>(), past_size), of_row(past_value.As<float>(), past_size),
                                static_cast<size_t>(past[2]), of_row(key, size), of_row(value, size),
                                static_cast<size_t>(present[2]), seen[static_cast<size_t>(row)]};
      RunSparkAttention(op, cache, static_cast<size_t>(tokens), of_row(projected.As<float>(), tokens * projected.shape[2]),
                        of_row(y, tokens * heads * head), of_row(attended, tokens), *scratch, call.Threads());
    }
  }

 private:
  SparkAttention Bind(const ort::Call& call, const ort::Tensor& past_key) const {
    if (past_key.shape.rank() != 4)
      call.Refuse("expected [b, kv_heads, past, head] for input past_key but received " + past_key.shape.Text());
    SparkAttention op = op_;
    const int64_t head = past_key.shape[3], predictor = static_cast<int64_t>(op.predictor_size);
    call.ExpectSize("entries of a head", head, kMostHeadSize);
    if (predictor >= head || predictor % 2 != 0 || head % 2 != 0)
      call.Refuse("expected an even number below " + std::to_string(head) + " for attribute predictor_size, of heads that are even, but received " +
                  std::to_string(predictor));
    op.head_size = static_cast<size_t>(head);
    const ort::Tensor quantiles = inputs_.Get(call, kQuantiles);
    if (quantiles.shape.rank() != 1) call.Refuse("expected [positions] for input quantiles but received " + quantiles.shape.Text());
    op.quantiles = quantiles.As<float>();
    const auto tables = [&](size_t cosines, size_t sines, int64_t width) -> Rotary {
      const ort::Shape shape = {quantiles.shape[0], width / 2};
      return {inputs_.Given(call, cosines, shape), inputs_.Given(call, sines, shape)};
    };
    op.predictor = tables(kCosines, kSines, predictor);
    op.others = tables(kOtherCosines, kOtherSines, head - predictor);
    return op;
  }

  SparkAttention op_;
  NodeInputs<kInputCount> inputs_;
};

}  // namespace

void AddSparkAttention(ort::Operators& operators) {
  ort::AddOperators<SparkAttentionKernel>(operators, spark_attention::kName, kOperatorSet, spark_attention::kBodies);
}

}  // namespace lacuna
