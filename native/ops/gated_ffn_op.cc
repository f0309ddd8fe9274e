#include "kernels/decoder.h"
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
  // The stream is x + skip, and what is multiplied its norm, where these are given.
  kSkip,
  kNorm,
  kInputCount,
};
enum Output { kY, kSaturation, kKept, kSum };

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

constexpr std::array<ort::Port, 4> kOutputPorts = {
    {kFloats, kOptionalFloats, {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, true}, kOptionalFloats}};

// Attribute epsilons of norms: nodes have them where they have the norm.
struct Epsilons {
  float norm = 0;
  float post_norm = 0;
};
Epsilons EpsilonsOf(const ort::Node& node) {
  return {node.HasInput(kNorm) ? node.Float("norm_epsilon") : 0, node.HasInput(kPostNorm) ? node.Float("epsilon") : 0};
}

// What is read of the stream, and its sum where it is made here.
Stream BindStream(ort::Call& call, const FfnInputs<kInputCount>& inputs) {
  const ort::Tensor x = call.Input(kX), skip = call.Input(kSkip);
  if (skip.given() != inputs.Get(call, kNorm).given()) call.Refuse("expected both or neither of inputs skip and norm");
  Stream stream = StreamOf(call, x, skip);
  if (skip.given()) stream.sum = call.OptionalOutput<float>(kSum, x.shape);
  return stream;
}

Mask BindMask(ort::Call& call, bool masked, const Stream& stream) {
  if (!masked) {
    // As the body has it: other variants give the constant 0.
    if (float* saturation = call.OptionalOutput<float>(kSaturation, {})) *saturation = 0;
    return {};
  }
  const ort::Tensor x = call.Input(kX), active = call.Input(kActive);
  const ort::Shape rows = {x.shape[0], x.shape[1]};
  call.Expect("active", active, rows);
  Mask mask;
  mask.active = active.As<bool>();
  mask.saturation = call.OptionalOutput<float>(kSaturation, rows);
  if (stream.skip != nullptr) {
    if (stream.sum == nullptr && mask.saturation != nullptr)
      call.Refuse("expected output sum, of which the saturation is made");
    mask.residual = stream.sum;
  } else {
    const ort::Tensor residual = call.Input(kResidual);
    call.Expect("residual", residual, x.shape);
    mask.residual = residual.As<float>();
  }
  return mask;
}

[[noreturn]] void RefuseHalves(const ort::Call& call) {
  call.Refuse("expected as many rows of gate as of up in input gate_up");
}

struct Variant {
  Selector selector;
  bool masked;
  // Calls with more than one token a row choose every neuron.
  bool decode;
};

template <Storage kStorage>
class GatedFfnKernel {
 public:
  using Settings = Variant;
  static constexpr std::array<ort::Port, kInputCount> kInputs = InputPorts(kStorage);
  static constexpr std::array<ort::Port, 4> kOutputs = kOutputPorts;

  GatedFfnKernel(Variant settings, const ort::Node& node)
      : settings_(settings), inputs_(node, kGate), epsilons_(EpsilonsOf(node)) {
    ffn_.storage = kStorage;
    ffn_.selector = settings.selector;
    ffn_.activation = ActivationOf(node);
    if (IsStatistical(settings_.selector)) ffn_.quantile = node.Float("quantile");
  }

  void Compute(ort::Call& call) {
    GatedFfnTokens tokens;
    tokens.stream = BindStream(call, inputs_);
    tokens.mask = BindMask(call, settings_.masked, tokens.stream);
    const ort::Tensor x = call.Input(kX);
    const GatedFfn ffn = Bind(call, x.shape[2]);
    tokens.choose_all = settings_.decode && x.shape[1] > 1;
    tokens.y = call.Output<float>(kY, x.shape);
    tokens.kept = call.OptionalOutput<int32_t>(kKept, {x.shape[0], x.shape[1]});
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
    ffn.norm = NormOf(call, "norm", inputs_.Get(call, kNorm), hidden, epsilons_.norm);
    ffn.post_norm = NormOf(call, "post_norm", inputs_.Get(call, kPostNorm), hidden, epsilons_.post_norm);
    if (IsScored(settings_.selector)) {
      ffn.threshold = *inputs_.Given(call, kThreshold, "threshold", {});
      ffn.score_weights = inputs_.Given(call, kWeights, "weights", {neurons});
    }
    return ffn;
  }

  int64_t Neurons(const ort::Call& call) const {
    if constexpr (!IsBlocked(kStorage)) return inputs_.template Rows<kStorage>(call, kGate, "gate", kMostNeurons);
    const int64_t both = inputs_.template Rows<kStorage>(call, kGateUp, "gate_up", 2 * kMostNeurons);
    if (both % 2 != 0) RefuseHalves(call);
    return both / 2;
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
      } else if (IsProduct(settings_.selector)) {
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

  Variant settings_;
  GatedFfn ffn_;
  FfnInputs<kInputCount> inputs_;
  Epsilons epsilons_;
};

// Selector none of storages in blocks: NormFFN's kernel, which multiplies by `down` as bodies do, since no row is left out.
template <Storage kStorage>
class WholeFfnKernel {
 public:
  using Settings = Variant;
  static constexpr std::array<ort::Port, kInputCount> kInputs = InputPorts(kStorage);
  static constexpr std::array<ort::Port, 4> kOutputs = kOutputPorts;

  WholeFfnKernel(Variant settings, const ort::Node& node)
      : masked_(settings.masked), inputs_(node, kGate), epsilons_(EpsilonsOf(node)), activation_(ActivationOf(node)) {}

  void Compute(ort::Call& call) {
    const Stream stream = BindStream(call, inputs_);
    const Mask mask = BindMask(call, masked_, stream);
    const ort::Tensor x = call.Input(kX);
    const NormFfn ffn = Bind(call, x.shape[2]);
    float* y = call.Output<float>(kY, x.shape);
    TakenScratch scratch;
    RunNormFfn(ffn, stream, mask, y, *scratch, call.Threads());
  }

 private:
  NormFfn Bind(const ort::Call& call, int64_t hidden) const {
    const auto matrix = [&](const char* name, Input codes, size_t columns, int64_t most_rows) {
      return BlockMatrixOf(call, name, {inputs_.Get(call, codes), inputs_.Get(call, codes + 1), {}, {}}, kStorage, columns,
                           most_rows);
    };
    const BlockMatrix both = matrix("gate_up", kGateUp, static_cast<size_t>(hidden), 2 * kMostNeurons);
    if (both.rows % 2 != 0) RefuseHalves(call);
    const int64_t neurons = static_cast<int64_t>(both.rows / 2);
    NormFfn ffn;
    ffn.storage = kStorage;
    ffn.activation = activation_;
    ffn.norm = NormOf(call, "norm", inputs_.Get(call, kNorm), hidden, epsilons_.norm);
    ffn.gate = RowsOf(both, kStorage, 0, both.rows / 2);
    ffn.up = RowsOf(both, kStorage, both.rows / 2, both.rows / 2);
    ffn.down = matrix("down_columns", kDownColumns, both.rows / 2, kMostHidden);
    if (static_cast<int64_t>(ffn.down.rows) != hidden)
      call.Refuse("expected " + std::to_string(hidden) + " rows for input down_columns but received " +
                  std::to_string(ffn.down.rows));
    ffn.gate.bias = inputs_.Optional(call, kGateBias, "gate_bias", {neurons});
    ffn.up.bias = inputs_.Optional(call, kUpBias, "up_bias", {neurons});
    ffn.down.bias = inputs_.Optional(call, kDownBias, "down_bias", {hidden});
    ffn.post_norm = NormOf(call, "post_norm", inputs_.Get(call, kPostNorm), hidden, epsilons_.post_norm);
    return ffn;
  }

  bool masked_;
  FfnInputs<kInputCount> inputs_;
  Epsilons epsilons_;
  Activation activation_;
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
void AddVariant(ort::Operators& operators, const std::string& op_type, Variant variant) {
  if constexpr (IsBlocked(kStorage)) {
    if (variant.selector == Selector::kNone) return ort::AddOperator<WholeFfnKernel<kStorage>>(operators, op_type, variant);
  }
  ort::AddOperator<GatedFfnKernel<kStorage>>(operators, op_type, variant);
}

// `_whole` and `_counted` tell bodies apart that a kernel need not, and `_normed` is to be seen in the inputs.
template <Storage kStorage>
void AddStorage(ort::Operators& operators, const char* storage, const SelectorName& selector) {
  const bool chooses = selector.selector != Selector::kNone;
  if (IsNested(selector.selector) && kStorage != Storage::kInt8) return;
  // Bodies that never gather need no name for not doing it, and graphs in float16 keep their norms.
  constexpr bool kGathers = kStorage == Storage::kFp32 || kStorage == Storage::kBf16;
  const bool gathers = kGathers && chooses && !IsProduct(selector.selector);
  const bool normed = kStorage != Storage::kFp16;
  using Flags = std::vector<const char*>;
  const auto flags = [](bool given, const char* flag) { return given ? Flags{"", flag} : Flags{""}; };
  for (bool masked : {false, true})
    for (bool decode : {false, true})
      for (const char* whole : flags(gathers, "_whole"))
        for (const char* norm : flags(normed, "_normed"))
          for (const char* counted : flags(chooses, "_counted")) {
            const std::string op_type = std::string("GatedFFN_") + selector.name + "_" + storage + selector.flag +
                                        (masked ? "_masked" : "") + (decode ? "_decode" : "") + whole + norm + counted;
            AddVariant<kStorage>(operators, op_type, {selector.selector, masked, decode});
          }
}

}  // namespace

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
