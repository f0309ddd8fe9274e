#include <algorithm>

#include "kernels/decoder.h"
#include "ops/cache_format.h"
#include "ops/decoder_inputs.h"
#include "ops/operators.h"
#include "ops/vocabulary.h"

namespace lacuna {
namespace {

using namespace norm_attention;

class NormAttentionKernel {
 public:
  static constexpr auto kInputs = norm_attention::kInputs;
  static constexpr auto kOutputs = norm_attention::kOutputs;

  explicit NormAttentionKernel(const ort::Node& node)
      : inputs_(node, kInputNames),
        epsilon_(node.Float(attribute::kEpsilon)),
        // Only nodes with these norms have them.
        head_epsilon_(node.HasInput(kQueryNorm) ? node.Float(attribute::kHeadEpsilon) : 0),
        post_epsilon_(node.HasInput(kPostNorm) ? node.Float(attribute::kPostEpsilon) : 0) {
    part_.storage = BlockStorageOf(node);
    part_.heads = static_cast<size_t>(node.Int(attribute::kNumHeads, 1, kMostHeads));
    part_.kv_heads = static_cast<size_t>(node.Int(attribute::kKvNumHeads, 1, kMostHeads));
    part_.scale = node.Float(attribute::kScale);
    part_.softcap = node.Float(attribute::kSoftcap);
    const int64_t window = node.Int(attribute::kLocalWindowSize);
    part_.window = window < 0 ? 0 : static_cast<size_t>(window);
    if (part_.heads % part_.kv_heads != 0)
      throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + node.op_type() + ": num_heads is no multiple of kv_num_heads");
  }

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(kX);
    Stream stream = StreamOf(call, x, call.Input(kSkip));
    const int64_t rows = x.shape[0], tokens = x.shape[1];
    const ort::Tensor past_key = call.Input(kPastKey), past_value = call.Input(kPastValue);
    const NormAttention part = Bind(call, x.shape[2], past_key);
    const ort::Shape past = {rows, static_cast<int64_t>(part.kv_heads), past_key.shape[2],
                             static_cast<int64_t>(part.head_size)};
    call.Expect("past_key", past_key, past);
    call.Expect("past_value", past_value, past);
    const int64_t positions = inputs_.Get(call, kCosines).shape[0];
    const int64_t total = TotalLengthOf(call, call.Input(kTotalSequenceLength), tokens, positions);
    CacheLayout layout = CacheLayoutOfCaller();
    // A window is few tokens already.
    if (part.window != 0) layout.attended = 0;
    const auto held = [&](int64_t capacity) {
      return static_cast<int64_t>(CachePositions(layout, static_cast<size_t>(capacity), part.head_size));
    };
    // As in GroupQueryAttention: a cache keeps its capacity. One that is not plain is its own past.
    const bool is_plain = IsPlain(layout);
    const ort::Shape present = {rows, past[1], is_plain ? std::max(past[2], total) : past[2], past[3]};
    const std::vector<size_t> seen =
        SeenTokens(call, call.Input(kSeqlensK), {rows, tokens, total, positions, held(past[2]), held(present[2])});
    Cache cache;
    cache.layout = layout;
    cache.past_key = past_key.As<float>();
    cache.past_value = past_value.As<float>();
    cache.past_capacity = static_cast<size_t>(past[2]);
    cache.capacity = static_cast<size_t>(present[2]);
    cache.seen = seen.data();
    cache.rows = static_cast<size_t>(rows);
    float* y = call.Output<float>(kYOutput, x.shape);
    cache.key = call.Output<float>(kPresentKeyOutput, present);
    cache.value = call.Output<float>(kPresentValueOutput, present);
    if (!is_plain && (cache.key != cache.past_key || cache.value != cache.past_value))
      call.Refuse("a cache in fp16 or int8, or with sketches of its keys, is appended to in place");
    stream.sum = call.OptionalOutput<float>(kSumOutput, x.shape);
    TakenScratch scratch;
    RunNormAttention(part, stream, cache, y, *scratch, call.Threads());
  }

 private:
  NormAttention Bind(const ort::Call& call, int64_t hidden, const ort::Tensor& past_key) const {
    if (past_key.shape.rank() != 4)
      call.Refuse("expected [b, kv_heads, past, head] for input past_key but received " + past_key.shape.Text());
    NormAttention part = part_;
    const int64_t head = past_key.shape[3];
    part.head_size = static_cast<size_t>(head);
    if (head < 16 || head % 16 != 0 || head > kMostHeadSize)
      call.Refuse("heads are " + std::to_string(head) + " wide, wanted a multiple of 16 up to " + std::to_string(kMostHeadSize));
    part.norm = NormOf(call, "norm", inputs_.Get(call, kNorm), hidden, epsilon_);
    part.query_norm = NormOf(call, "query_norm", inputs_.Get(call, kQueryNorm), head, head_epsilon_);
    part.key_norm = NormOf(call, "key_norm", inputs_.Get(call, kKeyNorm), head, head_epsilon_);
    part.post_norm = NormOf(call, "post_norm", inputs_.Get(call, kPostNorm), hidden, post_epsilon_);
    BindWeights(call, static_cast<size_t>(hidden), part);
    BindRotary(call, head, part);
    return part;
  }

  void BindWeights(const ort::Call& call, size_t hidden, NormAttention& part) const {
    const size_t queries = part.heads * part.head_size, keys = part.kv_heads * part.head_size;
    // Scales, zero points and bias follow the codes.
    const auto matrix = [&](Input codes, size_t rows, size_t columns) {
      const char* const name = inputs_.Name(codes);
      const BlockTensors tensors = {inputs_.Get(call, codes), inputs_.Get(call, codes + 1), inputs_.Get(call, codes + 2),
                                    inputs_.Get(call, codes + 3)};
      const BlockMatrix found = BlockMatrixOf(call, name, tensors, part.storage, columns, kMostRows);
      if (found.rows != rows)
        call.Refuse("expected " + std::to_string(rows) + " rows for input " + std::string(name) + " but received " +
                    std::to_string(found.rows));
      return found;
    };
    part.output = matrix(kOutput, hidden, queries);
    if (inputs_.Get(call, kKey).given()) {
      part.query = matrix(kQuery, queries, hidden);
      part.key = matrix(kKey, keys, hidden);
      part.value = matrix(kValue, keys, hidden);
      return;
    }
    // All three, one under the other.
    const BlockMatrix all = matrix(kQuery, queries + 2 * keys, hidden);
    part.query = RowsOf(all, part.storage, 0, queries);
    part.key = RowsOf(all, part.storage, queries, keys);
    part.value = RowsOf(all, part.storage, queries + keys, keys);
  }

  void BindRotary(const ort::Call& call, int64_t head, NormAttention& part) const {
    const ort::Tensor cosines = inputs_.Get(call, kCosines), sines = inputs_.Get(call, kSines);
    const int64_t positions = cosines.shape.rank() == 2 ? cosines.shape[0] : 0;
    call.Expect("cosines", cosines, {positions, head / 2});
    call.Expect("sines", sines, {positions, head / 2});
    part.cosines = cosines.As<float>();
    part.sines = sines.As<float>();
  }

  // For the matrix of all three projections, with the heads of each.
  static constexpr int64_t kMostRows = 3 * kMostHeads * kMostHeadSize;

  NormAttention part_;
  NodeInputs<kInputCount> inputs_;
  float epsilon_;
  float head_epsilon_;
  float post_epsilon_;
};

}  // namespace

void AddNormAttention(ort::Operators& operators) {
  ort::AddOperators<NormAttentionKernel>(operators, norm_attention::kName, kOperatorSet, norm_attention::kBodies);
}

}  // namespace lacuna
