#include <array>
#include <iterator>
#include <optional>
#include <string>

#include "kernels/decoder.h"
#include "kernels/gated_ffn.h"
#include "ops/decoder_inputs.h"
#include "ops/ffn_node.h"
#include "ops/operators.h"
#include "ops/vocabulary.h"

namespace lacuna {
namespace {

using namespace gated_ffn;

[[noreturn]] void Refuse(const ort::Node& node, const std::string& message) {
  throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + node.op_type() + ": " + message);
}

[[noreturn]] void RefuseCut(const ort::Node& node, const Choice& choice) {
  std::string wanted;
  for (size_t cut = 0; cut < std::size(kCutNames); ++cut)
    if (HasCut(choice.measure, static_cast<Cut>(cut)))
      wanted += (wanted.empty() ? "" : " or ") + std::string(kCutNames[cut]);
  Refuse(node, "expected cut " + wanted + " for measure " + kMeasureNames[static_cast<size_t>(choice.measure)] +
                   " but received " + kCutNames[static_cast<size_t>(choice.cut)]);
}

// A node with the inputs of another cut contradicts itself.
Choice ChoiceOf(const ort::Node& node) {
  Choice choice;
  choice.measure = node.Word<Measure>(attribute::kMeasure, kMeasureNames);
  if (!Chooses(choice)) return choice;
  choice.cut = node.Word<Cut>(attribute::kCut, kCutNames);
  if (!HasCut(choice.measure, choice.cut)) RefuseCut(node, choice);
  if (IsStatistical(choice)) {
    choice.mode = node.Word<TopKMode>(attribute::kMode, kTopKModeNames);
    if (node.HasInput(kThreshold)) Refuse(node, "expected no input threshold where the cut is deviation");
  } else if (node.HasFloat(attribute::kQuantile)) {
    Refuse(node, "expected no attribute quantile where the cut is a threshold's");
  }
  return choice;
}

// Blocks of codes without a choice run by the kernel for whole blocks, all others by the one for chosen rows.
class GatedFfnKernel {
 public:
  static constexpr auto kInputs = gated_ffn::kInputs;
  static constexpr auto kOutputs = gated_ffn::kOutputs;

  explicit GatedFfnKernel(const ort::Node& node) : inputs_(node, kInputNames) {
    ffn_.storage = node.Word<Storage>(attribute::kStorage, kStorageNames);
    ffn_.activation = node.Word<Activation>(attribute::kActivation, kActivationNames);
    ffn_.choice = ChoiceOf(node);
    if (IsNested(ffn_.choice) && ffn_.storage != Storage::kInt8) Refuse(node, "expected storage int8 for measure nested");
    if (IsStatistical(ffn_.choice)) ffn_.quantile = node.Float(attribute::kQuantile);
    if (ffn_.choice.measure == Measure::kGate && node.HasInt(attribute::kGateInputs))
      gate_inputs_ = node.Int(attribute::kGateInputs);
    masked_ = node.HasInput(kActive);
    dense_prefill_ = node.Flag(attribute::kDensePrefill);
    // Only nodes with the norm have these inputs.
    if (node.HasInput(kNorm)) ffn_.norm.epsilon = node.Float(attribute::kEpsilon);
    if (node.HasInput(kPostNorm)) ffn_.post_norm.epsilon = node.Float(attribute::kPostEpsilon);
  }

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(kX);
    const Stream stream = BindStream(call);
    const Mask mask = BindMask(call, stream);
    TakenScratch scratch;
    if (IsBlocked(ffn_.storage) && !Chooses(ffn_.choice)) {
      const NormFfn ffn = BindWhole(call, x.shape[2]);
      // Every neuron is.
      if (int32_t* kept = call.OptionalOutput<int32_t>(kKeptOutput, {x.shape[0], x.shape[1]}))
        for (size_t token = 0; token < stream.tokens; ++token)
          kept[token] = mask.IsActive(token) ? static_cast<int32_t>(ffn.gate.rows) : 0;
      float* y = call.Output<float>(kYOutput, x.shape);
      return RunNormFfn(ffn, stream, mask, y, *scratch, call.Threads());
    }
    GatedFfnTokens tokens;
    tokens.stream = stream;
    tokens.mask = mask;
    const GatedFfn ffn = Bind(call, x.shape[2]);
    tokens.choose_all = dense_prefill_ && x.shape[1] > 1;
    tokens.y = call.Output<float>(kYOutput, x.shape);
    tokens.kept = call.OptionalOutput<int32_t>(kKeptOutput, {x.shape[0], x.shape[1]});
    RunGatedFfn(ffn, tokens, *scratch, call.Threads());
  }

 private:
  // The part of the stream that is read, and its sum if it is computed here.
  Stream BindStream(ort::Call& call) const {
    const ort::Tensor x = call.Input(kX), skip = inputs_.Get(call, kSkip);
    if (skip.given() != inputs_.IsGiven(call, kNorm)) call.Refuse("expected both or neither of inputs skip and norm");
    Stream stream = StreamOf(call, x, skip);
    if (skip.given()) stream.sum = call.OptionalOutput<float>(kSumOutput, x.shape);
    return stream;
  }

  Mask BindMask(ort::Call& call, const Stream& stream) const {
    if (!masked_) {
      // As in the body: without a mask the saturation is the constant 0.
      if (float* saturation = call.OptionalOutput<float>(kSaturationOutput, {})) *saturation = 0;
      return {};
    }
    const ort::Tensor x = call.Input(kX), active = inputs_.Get(call, kActive);
    const ort::Shape rows = {x.shape[0], x.shape[1]};
    call.Expect("active", active, rows);
    Mask mask;
    mask.active = active.As<bool>();
    mask.saturation = call.OptionalOutput<float>(kSaturationOutput, rows);
    if (stream.skip == nullptr) {
      mask.residual = inputs_.Given(call, kResidual, x.shape);
    } else {
      if (stream.sum == nullptr && mask.saturation != nullptr)
        call.Refuse("expected output sum, of which the saturation is made");
      mask.residual = stream.sum;
    }
    return mask;
  }

  GatedFfn Bind(const ort::Call& call, int64_t hidden) const {
    GatedFfn ffn = ffn_;
    ffn.hidden = static_cast<size_t>(hidden);
    SetParts(call, hidden, ffn);
    const int64_t neurons = Neurons(call);
    ffn.neurons = static_cast<size_t>(neurons);
    if (IsNested(ffn.choice)) {
      BindPlanes(call, neurons, ffn);
    } else {
      BindWeights(call, neurons, ffn);
      if (IsPredicted(ffn.choice))
        BindBoth(call, kPredictor, Storage::kInt4, ffn, ffn.predictor_gate, ffn.predictor_up);
    }
    ffn.gate_bias = inputs_.Optional(call, kGateBias, {neurons});
    ffn.up_bias = inputs_.Optional(call, kUpBias, {neurons});
    ffn.down_bias = inputs_.Optional(call, kDownBias, {hidden});
    ffn.norm.weight = inputs_.Optional(call, kNorm, {hidden});
    ffn.post_norm.weight = inputs_.Optional(call, kPostNorm, {hidden});
    if (IsScored(ffn.choice)) {
      ffn.threshold = *inputs_.Given(call, kThreshold, {});
      ffn.score_weights = inputs_.Given(call, kWeights, {neurons});
    }
    return ffn;
  }

  // The entries of x that gate and up read.
  void SetParts(const ort::Call& call, int64_t hidden, GatedFfn& ffn) const {
    ffn.gate_inputs = ffn.up_inputs = {0, ffn.hidden};
    if (!gate_inputs_.has_value()) return;
    if (*gate_inputs_ < 1 || *gate_inputs_ >= hidden)
      call.Refuse("expected 1 to " + std::to_string(hidden - 1) + " for attribute gate_inputs but received " +
                  std::to_string(*gate_inputs_));
    ffn.gate_inputs = {0, static_cast<size_t>(*gate_inputs_)};
    ffn.up_inputs = {ffn.gate_inputs.count, ffn.hidden - ffn.gate_inputs.count};
  }

  // Gate and up in blocks are one matrix, unless they read parts of x.
  bool AreStacked() const { return IsBlocked(ffn_.storage) && !gate_inputs_.has_value(); }

  int64_t Neurons(const ort::Call& call) const {
    if (!AreStacked()) return inputs_.Rows(call, kGate, ffn_.storage, kMostNeurons);
    const int64_t both = inputs_.Rows(call, kGateUp, ffn_.storage, 2 * kMostNeurons);
    if (both % 2 != 0) RefuseHalves(call);
    return both / 2;
  }

  [[noreturn]] static void RefuseHalves(const ort::Call& call) {
    call.Refuse("expected as many rows of gate as of up in input gate_up");
  }

  using Recorded = NodeInputs<kInputCount>::Recorded;

  // The halves of a matrix in blocks: the gate's rows, then those of up.
  void BindBoth(const ort::Call& call, Input codes, Storage storage, const GatedFfn& ffn, Matrix& gate, Matrix& up) const {
    gate = inputs_.Weights(call, codes, storage, {static_cast<int64_t>(2 * ffn.neurons), static_cast<int64_t>(ffn.hidden)});
    const size_t blocks = ffn.neurons * Blocks(ffn.hidden);
    up = {static_cast<const uint8_t*>(gate.data) + blocks * BlockBytes(storage), gate.scales + blocks};
  }

  // Matrices in blocks that are read row by row come from the records, so that the memory of their copies is not
  // touched.
  void BindWeights(const ort::Call& call, int64_t neurons, GatedFfn& ffn) const {
    const Storage storage = ffn.storage;
    if (AreStacked()) {
      BindBoth(call, kGateUp, storage, ffn, ffn.gate, ffn.up);
    } else {
      ffn.gate = inputs_.Weights(call, kGate, storage, {neurons, static_cast<int64_t>(ffn.gate_inputs.count)});
      ffn.up = inputs_.Weights(call, kUp, storage, {neurons, static_cast<int64_t>(ffn.up_inputs.count)});
    }
    if (!IsBlocked(storage)) {
      ffn.down = inputs_.Weights(call, kDown, storage, {neurons, static_cast<int64_t>(ffn.hidden)});
      return;
    }
    std::array<Recorded, 3> recorded;
    size_t count = 0;
    if (FactsOf(ffn.choice).gate_rows) recorded[count++] = {&ffn.gate, {storage, ffn.gate_inputs.count}};
    if (FactsOf(ffn.choice).up_rows) recorded[count++] = {&ffn.up, {storage, ffn.up_inputs.count}};
    recorded[count++] = {&ffn.down, {storage, ffn.hidden}};
    inputs_.Records(call, kRecords, neurons, {recorded.data(), count});
  }

  // Input gate_up is the upper plane, all of which is read. The lower plane, with the same scales, is in the records.
  void BindPlanes(const ort::Call& call, int64_t neurons, GatedFfn& ffn) const {
    BindBoth(call, kGateUp, Storage::kInt4, ffn, ffn.predictor_gate, ffn.predictor_up);
    const RecordPart lower{Storage::kInt4, ffn.hidden, false};
    const Recorded recorded[] = {{&ffn.gate, lower}, {&ffn.up, lower}, {&ffn.down, {ffn.storage, ffn.hidden}}};
    inputs_.Records(call, kRecords, neurons, recorded);
    ffn.gate.scales = ffn.predictor_gate.scales;
    ffn.up.scales = ffn.predictor_up.scales;
  }

  // A block in blocks without a choice.
  NormFfn BindWhole(const ort::Call& call, int64_t hidden) const {
    const auto columns = static_cast<size_t>(hidden);
    NormFfn ffn;
    ffn.storage = ffn_.storage;
    ffn.activation = ffn_.activation;
    if (inputs_.IsGiven(call, kGateUp)) {
      const BlockMatrix both = BlocksOf(call, kGateUp, {}, columns, 2 * kMostNeurons);
      if (both.rows % 2 != 0) RefuseHalves(call);
      ffn.gate = RowsOf(both, ffn.storage, 0, both.rows / 2);
      ffn.up = RowsOf(both, ffn.storage, both.rows / 2, both.rows / 2);
    } else {
      ffn.gate = BlocksOf(call, kGate, inputs_.Get(call, kGateZeroPoints), columns, kMostNeurons);
      ffn.up = BlocksOf(call, kUp, inputs_.Get(call, kUpZeroPoints), columns, kMostNeurons);
    }
    ffn.down = BlocksOf(call, kDown, inputs_.Get(call, kDownZeroPoints), ffn.gate.rows, kMostHidden);
    ExpectRows(call, kUp, ffn.up, ffn.gate.rows);
    ExpectRows(call, kDown, ffn.down, columns);
    const auto neurons = static_cast<int64_t>(ffn.gate.rows);
    ffn.gate.bias = inputs_.Optional(call, kGateBias, {neurons});
    ffn.up.bias = inputs_.Optional(call, kUpBias, {neurons});
    ffn.down.bias = inputs_.Optional(call, kDownBias, {hidden});
    ffn.norm = {inputs_.Optional(call, kNorm, {hidden}), ffn_.norm.epsilon};
    ffn.post_norm = {inputs_.Optional(call, kPostNorm, {hidden}), ffn_.post_norm.epsilon};
    return ffn;
  }

  BlockMatrix BlocksOf(const ort::Call& call, Input codes, const ort::Tensor& zero_points, size_t columns,
                       int64_t most_rows) const {
    const BlockTensors tensors = {inputs_.Get(call, codes), inputs_.Get(call, codes + 1), zero_points, {}};
    return BlockMatrixOf(call, inputs_.Name(codes), tensors, ffn_.storage, columns, most_rows);
  }

  void ExpectRows(const ort::Call& call, Input input, const BlockMatrix& matrix, size_t rows) const {
    if (matrix.rows != rows)
      call.Refuse("expected " + std::to_string(rows) + " rows for input " + inputs_.Name(input) + " but received " +
                  std::to_string(matrix.rows));
  }

  // The settings that are the same in every call, except sizes and weights.
  GatedFfn ffn_;
  // The number of entries of x that the gate reads, if it reads only the first.
  std::optional<int64_t> gate_inputs_;
  bool masked_ = false;
  // Calls with more than one token in a row choose every neuron.
  bool dense_prefill_ = false;
  NodeInputs<kInputCount> inputs_;
};

}  // namespace

void AddGatedFfn(ort::Operators& operators) {
  ort::AddOperators<GatedFfnKernel>(operators, gated_ffn::kName, kOperatorSet, gated_ffn::kBodies);
}

}  // namespace lacuna
