#include "kernels/gated_ffn.h"

#include <utility>

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
  kPredictor0,
  kPredictor1,
  kGateScales,
  kUpScales,
  kDownScales,
  // Of `down` along the other axis, which bodies multiply by.
  kDownColumns,
  kDownColumnsScales,
  kInputCount,
};
enum Output { kY, kSaturation, kKept };

constexpr ort::Port kFloats = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
constexpr ort::Port kOptionalFloats = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true};

constexpr ort::Port WeightPort(Storage storage) {
  switch (storage) {
    case Storage::kFp32:
      return kFloats;
    case Storage::kBf16:
      return {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16};
    case Storage::kInt8:
    case Storage::kInt4:
      break;
  }
  return {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8};
}

constexpr std::array<ort::Port, kInputCount> InputPorts(Storage storage) {
  std::array<ort::Port, kInputCount> ports{};
  for (ort::Port& port : ports) port = kOptionalFloats;
  ports[kX] = kFloats;
  for (Input matrix : {kGate, kUp, kDown}) ports[matrix] = WeightPort(storage);
  ports[kActive] = {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, true};
  for (Input codes : {kPredictor0, kDownColumns}) ports[codes] = {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true};
  return ports;
}

// Shared by all kernels of the process: calls of one session follow each other, so they use one block.
ScratchPool& SharedScratch() {
  static ScratchPool* const pool = new ScratchPool;
  return *pool;
}

class TakenScratch {
 public:
  TakenScratch() : scratch_(SharedScratch().Take()) {}
  ~TakenScratch() { SharedScratch().Return(std::move(scratch_)); }
  TakenScratch(const TakenScratch&) = delete;
  TakenScratch& operator=(const TakenScratch&) = delete;
  Scratch& operator*() { return *scratch_; }

 private:
  std::unique_ptr<Scratch> scratch_;
};

Activation ActivationOf(const ort::Node& node) {
  constexpr std::pair<const char*, Activation> kNames[] = {{"silu", Activation::kSilu},
                                                           {"gelu_tanh", Activation::kGeluTanh},
                                                           {"gelu", Activation::kGelu},
                                                           {"relu", Activation::kRelu}};
  const std::string wanted = node.String("activation");
  for (const auto& [name, activation] : kNames)
    if (wanted == name) return activation;
  throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + node.op_type() +
                                               ": expected silu, gelu_tanh, gelu or relu for attribute activation " +
                                               "but received \"" + wanted + "\"");
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

  GatedFfnKernel(Settings settings, const ort::Node& node) : settings_(settings) {
    ffn_.storage = kStorage;
    ffn_.selector = settings.selector;
    ffn_.activation = ActivationOf(node);
    if (IsStatistical()) ffn_.quantile = node.Float("quantile");
    for (size_t input = kGate; input < kInputs.size(); ++input) constants_[input] = node.Constant(input);
    // Only nodes with a post-norm have it.
    if (constants_[kPostNorm].given()) ffn_.epsilon = node.Float("epsilon");
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
  bool IsStatistical() const {
    return settings_.selector == Selector::kStatisticalSoft || settings_.selector == Selector::kStatisticalHard;
  }

  ort::Tensor Get(const ort::Call& call, Input input) const {
    return constants_[input].given() ? constants_[input] : call.Input(input);
  }

  const float* Given(const ort::Call& call, Input input, const char* name, const ort::Shape& shape) const {
    const ort::Tensor tensor = Get(call, input);
    call.Expect(name, tensor, shape);
    return tensor.As<float>();
  }

  // A matrix [rows, columns] as its storage has it.
  Matrix Weights(const ort::Call& call, Input data, Input scales, const char* name, const ort::Shape& matrix) const {
    const ort::Tensor tensor = Get(call, data);
    if constexpr (!IsBlocked(kStorage)) {
      call.Expect(name, tensor, matrix);
      return {tensor.data, nullptr};
    }
    const int64_t blocks = static_cast<int64_t>(Blocks(static_cast<size_t>(matrix[1])));
    call.Expect(name, tensor, {matrix[0], blocks, kStorage == Storage::kInt4 ? 16 : 32});
    return {tensor.data, Given(call, scales, (std::string(name) + "_scales").c_str(), {matrix[0] * blocks})};
  }

  const float* Optional(const ort::Call& call, Input input, const char* name, const ort::Shape& shape) const {
    return Get(call, input).given() ? Given(call, input, name, shape) : nullptr;
  }

  GatedFfn Bind(const ort::Call& call, int64_t hidden) const {
    const ort::Tensor gate = Get(call, kGate);
    constexpr size_t kRank = IsBlocked(kStorage) ? 3 : 2;
    if (gate.shape.rank() != kRank)
      call.Refuse(std::string("expected ") + (IsBlocked(kStorage) ? "[f, blocks, bytes]" : "[f, h]") +
                  " for input gate but received " + gate.shape.Text());
    const int64_t neurons = gate.shape[0];
    GatedFfn ffn = ffn_;
    ffn.hidden = static_cast<size_t>(hidden);
    ffn.neurons = static_cast<size_t>(neurons);
    ffn.gate_inputs = ffn.up_inputs = {0, ffn.hidden};
    ffn.gate = Weights(call, kGate, kGateScales, "gate", {neurons, hidden});
    ffn.up = Weights(call, kUp, kUpScales, "up", {neurons, hidden});
    ffn.down = Weights(call, kDown, kDownScales, "down", {neurons, hidden});
    ffn.gate_bias = Optional(call, kGateBias, "gate_bias", {neurons});
    ffn.up_bias = Optional(call, kUpBias, "up_bias", {neurons});
    ffn.down_bias = Optional(call, kDownBias, "down_bias", {hidden});
    ffn.post_norm = Optional(call, kPostNorm, "post_norm", {hidden});
    if (settings_.selector == Selector::kThreshold || settings_.selector == Selector::kThresholdOfMean) {
      ffn.threshold = *Given(call, kThreshold, "threshold", {});
      ffn.score_weights = Given(call, kWeights, "weights", {neurons});
    }
    return ffn;
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
  std::array<ort::Tensor, kInputs.size()> constants_;
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
};

template <Storage kStorage>
void AddStorage(ort::Operators& operators, const char* storage, const SelectorName& selector) {
  for (bool masked : {false, true})
    for (bool decode : {false, true})
      for (bool whole : {false, true}) {
        // Bodies that never gather need no name for not doing it.
        if (whole && (selector.selector == Selector::kNone || IsBlocked(kStorage))) continue;
        const std::string op_type = std::string("GatedFFN_") + selector.name + "_" + storage + selector.flag +
                                    (masked ? "_masked" : "") + (decode ? "_decode" : "") + (whole ? "_whole" : "");
        ort::AddOperator<GatedFfnKernel<kStorage>>(operators, op_type, {selector.selector, masked, decode});
      }
}

}  // namespace

// `_whole` tells bodies apart that a kernel need not: one kernel does for both.
void AddGatedFfn(ort::Operators& operators) {
  for (const SelectorName& selector : kSelectorNames) {
    AddStorage<Storage::kFp32>(operators, "fp32", selector);
    AddStorage<Storage::kBf16>(operators, "bf16", selector);
    AddStorage<Storage::kInt8>(operators, "int8", selector);
    AddStorage<Storage::kInt4>(operators, "int4", selector);
  }
}

}  // namespace lacuna
