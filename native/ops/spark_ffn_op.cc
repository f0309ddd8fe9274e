#include "kernels/gated_ffn.h"
#include "ops/decoder_inputs.h"
#include "ops/ffn_node.h"
#include "ops/operators.h"

namespace lacuna {
namespace {

// Positions of inputs and outputs, as src/ops/contract.ts fixes them.
enum Input {
  kX,
  kGate,
  kUp,
  kDown,
  kPostNorm,
  kGateScales,
  kUpScales,
  kRecords,
  // Of `down` along the other axis, which bodies multiply by.
  kDownColumns,
  kDownColumnsScales,
  kInputCount,
};
enum Output { kY, kKept };

constexpr std::array<ort::Port, kInputCount> InputPorts(Storage storage) {
  std::array<ort::Port, kInputCount> ports{};
  for (ort::Port& port : ports) port = kOptionalFloats;
  ports[kX] = kFloats;
  for (Input matrix : {kGate, kUp, kDown}) ports[matrix] = WeightPort(storage);
  ports[kDown].optional = true;
  for (Input scales : {kGateScales, kUpScales, kDownColumnsScales}) ports[scales] = kOptionalScales;
  for (Input codes : {kRecords, kDownColumns}) ports[codes] = kOptionalCodes;
  return ports;
}

// GatedFFN's kernel, whose gate and up read different entries of x.
template <Storage kStorage>
class SparkFfnKernel {
 public:
  struct Settings {
    Selector selector;
  };
  static constexpr std::array<ort::Port, kInputCount> kInputs = InputPorts(kStorage);
  static constexpr std::array<ort::Port, 2> kOutputs = {{kFloats, {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, true}}};

  SparkFfnKernel(Settings settings, const ort::Node& node)
      : inputs_(node, kGate), gate_inputs_(node.Int("gate_inputs")) {
    ffn_.storage = kStorage;
    ffn_.selector = settings.selector;
    ffn_.activation = ActivationOf(node);
    ffn_.quantile = node.Float("quantile");
    // Only nodes with a post-norm have it.
    if (node.HasInput(kPostNorm)) ffn_.post_norm.epsilon = node.Float("epsilon");
  }

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(kX);
    GatedFfnTokens tokens;
    tokens.stream = StreamOf(call, x, {});
    const GatedFfn ffn = Bind(call, x.shape[2]);
    const ort::Shape rows = {x.shape[0], x.shape[1]};
    tokens.y = call.Output<float>(kY, x.shape);
    tokens.kept = call.OptionalOutput<int32_t>(kKept, rows);
    TakenScratch scratch;
    RunGatedFfn(ffn, tokens, *scratch, call.Threads());
  }

 private:
  GatedFfn Bind(const ort::Call& call, int64_t hidden) const {
    if (gate_inputs_ < 1 || gate_inputs_ >= hidden)
      call.Refuse("expected 1 to " + std::to_string(hidden - 1) + " for attribute gate_inputs but received " +
                  std::to_string(gate_inputs_));
    const int64_t neurons = inputs_.template Rows<kStorage>(call, kGate, "gate", kMostNeurons);
    GatedFfn ffn = ffn_;
    ffn.hidden = static_cast<size_t>(hidden);
    ffn.neurons = static_cast<size_t>(neurons);
    ffn.gate_inputs = {0, static_cast<size_t>(gate_inputs_)};
    ffn.up_inputs = {ffn.gate_inputs.count, ffn.hidden - ffn.gate_inputs.count};
    ffn.gate = inputs_.template Weights<kStorage>(call, kGate, kGateScales, "gate", {neurons, gate_inputs_});
    ffn.up = inputs_.template Weights<kStorage>(call, kUp, kUpScales, "up", {neurons, hidden - gate_inputs_});
    if constexpr (IsBlocked(kStorage)) {
      inputs_.Records(call, kRecords, neurons,
                      {{&ffn.up, {kStorage, ffn.up_inputs.count}}, {&ffn.down, {kStorage, ffn.hidden}}});
    } else {
      ffn.down = inputs_.template Weights<kStorage>(call, kDown, 0, "down", {neurons, hidden});
    }
    ffn.post_norm.weight = inputs_.Optional(call, kPostNorm, "post_norm", {hidden});
    return ffn;
  }

  GatedFfn ffn_;
  FfnInputs<kInputCount> inputs_;
  int64_t gate_inputs_;
};

template <Storage kStorage>
void AddStorage(ort::Operators& operators, const std::string& storage) {
  ort::AddOperator<SparkFfnKernel<kStorage>>(operators, "SparkFFN_" + storage, {Selector::kStatisticalSoft});
  ort::AddOperator<SparkFfnKernel<kStorage>>(operators, "SparkFFN_" + storage + "_hard", {Selector::kStatisticalHard});
}

}  // namespace

void AddSparkFfn(ort::Operators& operators) {
  AddStorage<Storage::kFp32>(operators, "fp32");
  AddStorage<Storage::kBf16>(operators, "bf16");
  AddStorage<Storage::kFp16>(operators, "fp16");
  AddStorage<Storage::kInt8>(operators, "int8");
  AddStorage<Storage::kInt4>(operators, "int4");
}

}  // namespace lacuna
