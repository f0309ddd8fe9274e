#include "kernels/gated_ffn.h"
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
  kGateBias,
  kUpBias,
  kDownBias,
  kActive,
  kResidual,
  kPostNorm,
  kThreshold,
  kWeights,
  kPredictor,
  kPredictorScales,
  // Both matrices of storages in blocks, the gate's rows first.
  kGateUp,
  kGateUpScales,
  kRecords,
  // Of `down` along the other axis, which bodies multiply by.
  kDownColumns,
  kDownColumnsScales,
  // Of selector nested, which bodies multiply by.
  kGateUpLower,
  kInputCount,
};
enum Output { kY, kSaturation, kKept };

constexpr std::array<ort::Port, kInputCount> InputPorts(Storage storage) {
  std::array<ort::Port, kInputCount> ports{};
  for (ort::Port& port : ports) port = kOptionalFloats;
  ports[kX] = kFloats;
  for (Input matrix : {kGate, kUp, kDown}) {
    ports[matrix] = WeightPort(storage);
    ports[matrix].optional = true;
  }
  ports[kActive] = {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, true};
  for (Input scales : {kPredictorScales, kGateUpScales, kDownColumnsScales}) ports[scales] = kOptionalScales;
  for (Input codes : {kPredictor, kGateUp, kRecords, kDownColumns, kGateUpLower}) ports[codes] = kOptionalCodes;
  return ports;
}

template <Storage kStorage>
class GatedFfnKernel {
 public:
  struct Settings {
    Selector selector;
    bool masked;
    // Calls with more than one token a row choose every neuron.
    bool decode;
  };
  static constexpr std::array<ort::Port, kInputCount> kInputs = InputPorts(kStorage);
  static constexpr std::array<ort::Port, 3> kOutputs = {
      {kFloats, kOptionalFloats, {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, true}}};

  GatedFfnKernel(Settings settings, const ort::Node& node) : settings_(settings), inputs_(node, kGate) {
    ffn_.storage = kStorage;
    ffn_.selector = settings.selector;
    ffn_.activation = ActivationOf(node);
    if (IsStatistical(settings_.selector)) ffn_.quantile = node.Float("quantile");
    // Only nodes with a post-norm have it.
    if (inputs_.IsConstant(kPostNorm)) ffn_.epsilon = node.Float("epsilon");
  }

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(kX);
    if (x.shape.rank() != 3) call.Refuse("expected [b, s, h] for input x but received " + x.shape.Text());
    const GatedFfn ffn = Bind(call, x.shape[2]);
    const ort::Shape rows = {x.shape[0], x.shape[1]};
    GatedFfnTokens tokens;
    tokens.count = rows.elements();
    tokens.x = x.As<float>();
    tokens.choose_all = settings_.decode && x.shape[1] > 1;
    tokens.y = call.Output<float>(kY, x.shape);
    tokens.kept = call.Output<int32_t>(kKept, rows);
    BindMask(call, x.shape, rows, tokens);
    TakenScratch scratch;
    RunGatedFfn(ffn, tokens, *scratch, call.Threads());
  }

 private:
  GatedFfn Bind(const ort::Call& call, int64_t hidden) const {
    const int64_t neurons = Neurons(call);
    GatedFfn ffn = ffn_;
    ffn.hidden = static_cast<size_t>(hidden);
    ffn.neurons = static_cast<size_t>(neurons);
    ffn.gate_inputs = ffn.up_inputs = {0, ffn.hidden};
    if (IsNested(settings_.selector)) {
      BindPlanes(call, neurons, ffn);
    } else {
      BindWeights(call, neurons, hidden, ffn);
      if (IsPredicted(settings_.selector))
        BindBoth<Storage::kInt4>(call, kPredictor, "predictor", ffn, ffn.predictor_gate, ffn.predictor_up);
    }
    ffn.gate_bias = inputs_.Optional(call, kGateBias, "gate_bias", {neurons});
    ffn.up_bias = inputs_.Optional(call, kUpBias, "up_bias", {neurons});
    ffn.down_bias = inputs_.Optional(call, kDownBias, "down_bias", {hidden});
    ffn.post_norm = inputs_.Optional(call, kPostNorm, "post_norm", {hidden});
    if (IsScored(settings_.selector)) {
      ffn.threshold = *inputs_.Given(call, kThreshold, "threshold", {});
      ffn.score_weights = inputs_.Given(call, kWeights, "weights", {neurons});
    }
    return ffn;
  }

  int64_t Neurons(const ort::Call& call) const {
    if constexpr (IsBlocked(kStorage)) return inputs_.template Rows<kStorage>(call, kGateUp, "gate_up") / 2;
    return inputs_.template Rows<kStorage>(call, kGate, "gate");
  }

  // The halves of a matrix in blocks: the gate's rows, then those of up.
  template <Storage kOf>
  void BindBoth(const ort::Call& call, Input codes, const char* name, const GatedFfn& ffn, Matrix& gate, Matrix& up) const {
    const ort::Shape shape = {static_cast<int64_t>(2 * ffn.neurons), static_cast<int64_t>(ffn.hidden)};
    gate = inputs_.template Weights<kOf>(call, codes, codes + 1, name, shape);
    const size_t blocks = ffn.neurons * Blocks(ffn.hidden);
    up = {static_cast<const uint8_t*>(gate.data) + blocks * BlockBytes(kOf), gate.scales + blocks};
  }

  // Of matrices that are read row by row those in blocks are taken from the records, so that the others' memory is not touched.
  void BindWeights(const ort::Call& call, int64_t neurons, int64_t hidden, GatedFfn& ffn) const {
    if constexpr (!IsBlocked(kStorage)) {
      ffn.gate = inputs_.template Weights<kStorage>(call, kGate, 0, "gate", {neurons, hidden});
      ffn.up = inputs_.template Weights<kStorage>(call, kUp, 0, "up", {neurons, hidden});
      ffn.down = inputs_.template Weights<kStorage>(call, kDown, 0, "down", {neurons, hidden});
    } else {
      BindBoth<kStorage>(call, kGateUp, "gate_up", ffn, ffn.gate, ffn.up);
      const RecordPart row{kStorage, ffn.hidden};
      if (IsPredicted(settings_.selector)) {
        inputs_.Records(call, kRecords, neurons, {{&ffn.gate, row}, {&ffn.up, row}, {&ffn.down, row}});
      } else if (settings_.selector == Selector::kNone || IsProduct(settings_.selector)) {
        inputs_.Records(call, kRecords, neurons, {{&ffn.down, row}});
      } else {
        inputs_.Records(call, kRecords, neurons, {{&ffn.up, row}, {&ffn.down, row}});
      }
    }
  }

  // Input gate_up is the upper plane, all of which is read; the lower one, whose scales are the same, is in the records.
  void BindPlanes(const ort::Call& call, int64_t neurons, GatedFfn& ffn) const {
    BindBoth<Storage::kInt4>(call, kGateUp, "gate_up", ffn, ffn.predictor_gate, ffn.predictor_up);
    const RecordPart lower{Storage::kInt4, ffn.hidden, false};
    inputs_.Records(call, kRecords, neurons, {{&ffn.gate, lower}, {&ffn.up, lower}, {&ffn.down, {kStorage, ffn.hidden}}});
    ffn.gate.scales = ffn.predictor_gate.scales;
    ffn.up.scales = ffn.predictor_up.scales;
  }

  void BindMask(const ort::Call& call, const ort::Shape& stream, const ort::Shape& rows, GatedFfnTokens& tokens) const {
    if (!settings_.masked) {
      // As the body has it: other variants give the constant 0.
      if (float* saturation = call.Output<float>(kSaturation, {})) *saturation = 0;
      return;
    }
    const ort::Tensor active = call.Input(kActive), residual = call.Input(kResidual);
    call.Expect("active", active, rows);
    call.Expect("residual", residual, stream);
    tokens.active = active.As<bool>();
    tokens.residual = residual.As<float>();
    tokens.saturation = call.Output<float>(kSaturation, rows);
  }

  Settings settings_;
  GatedFfn ffn_;
  FfnInputs<kInputCount> inputs_;
};

// A selector as op types name it: between `GatedFFN_` and the storage, and after the storage.
struct SelectorName {
  Selector selector;
  const char* name;
  const char* flag;
};

constexpr SelectorName kSelectorNames[] = {
    {Selector::kNone, "none", ""},
    {Selector::kThreshold, "threshold", ""},
    {Selector::kThresholdOfMean, "threshold", "_mean"},
    {Selector::kStatisticalSoft, "statistical", ""},
    {Selector::kStatisticalHard, "statistical", "_hard"},
    {Selector::kProduct, "product", ""},
    {Selector::kProductOfMean, "product", "_mean"},
    {Selector::kPredictor, "predictor", ""},
    {Selector::kPredictorOfMean, "predictor", "_mean"},
    {Selector::kNested, "nested", ""},
    {Selector::kNestedOfMean, "nested", "_mean"},
};

template <Storage kStorage>
void AddStorage(ort::Operators& operators, const char* storage, const SelectorName& selector) {
  if (IsNested(selector.selector) && kStorage != Storage::kInt8) return;
  for (bool masked : {false, true})
    for (bool decode : {false, true})
      for (bool whole : {false, true}) {
        // Bodies that never gather need no name for not doing it.
        constexpr bool kGathers = kStorage == Storage::kFp32 || kStorage == Storage::kBf16;
        if (whole && (selector.selector == Selector::kNone || IsProduct(selector.selector) || !kGathers)) continue;
        const std::string op_type = std::string("GatedFFN_") + selector.name + "_" + storage + selector.flag +
                                    (masked ? "_masked" : "") + (decode ? "_decode" : "") + (whole ? "_whole" : "");
        ort::AddOperator<GatedFfnKernel<kStorage>>(operators, op_type, {selector.selector, masked, decode});
        if (selector.selector != Selector::kNone)
          ort::AddOperator<GatedFfnKernel<kStorage>>(operators, op_type + "_counted", {selector.selector, masked, decode});
      }
}

}  // namespace

// `_whole` and `_counted` tell bodies apart that a kernel need not: one kernel does for all.
void AddGatedFfn(ort::Operators& operators) {
  for (const SelectorName& selector : kSelectorNames) {
    AddStorage<Storage::kFp32>(operators, "fp32", selector);
    AddStorage<Storage::kBf16>(operators, "bf16", selector);
    AddStorage<Storage::kFp16>(operators, "fp16", selector);
    AddStorage<Storage::kInt8>(operators, "int8", selector);
    AddStorage<Storage::kInt4>(operators, "int4", selector);
  }
}

}  // namespace lacuna
