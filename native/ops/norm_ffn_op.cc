#include "kernels/decoder.h"
#include "ops/decoder_inputs.h"
#include "ops/operators.h"

namespace lacuna {
namespace {

// Positions of inputs and outputs, as src/ops/contract.ts fixes them.
enum Input {
  kX,
  kSkip,
  kNorm,
  kGate,
  kGateScales,
  kUp,
  kUpScales,
  kDown,
  kDownScales,
  kPostNorm,
  kGateZeroPoints,
  kUpZeroPoints,
  kDownZeroPoints,
  kGateBias,
  kUpBias,
  kDownBias,
};
enum Output { kY, kSum };

class NormFfnKernel {
 public:
  using Settings = Storage;
  static constexpr std::array<ort::Port, 16> kInputs = {
      {kFloats, kFloats, kFloats, kCodes, kScales, kCodes, kScales, kCodes, kScales, kOptionalFloats, kOptionalCodes,
       kOptionalCodes, kOptionalCodes, kOptionalFloats, kOptionalFloats, kOptionalFloats}};
  static constexpr std::array<ort::Port, 2> kOutputs = {{kFloats, kOptionalFloats}};

  NormFfnKernel(Storage storage, const ort::Node& node)
      : storage_(storage),
        inputs_(node, 0),
        activation_(ActivationOf(node)),
        epsilon_(node.Float("epsilon")),
        // Only nodes with a post-norm have it.
        post_epsilon_(node.HasInput(kPostNorm) ? node.Float("post_epsilon") : 0) {}

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(kX);
    Stream stream = StreamOf(call, x, call.Input(kSkip));
    const int64_t hidden = x.shape[2];
    const auto matrix = [&](const char* name, Input codes, Input zero_points, Input bias, size_t columns,
                            int64_t most_rows) {
      const BlockTensors tensors = {inputs_.Get(call, codes), inputs_.Get(call, codes + 1), inputs_.Get(call, zero_points),
                                    inputs_.Get(call, bias)};
      return BlockMatrixOf(call, name, tensors, storage_, columns, most_rows);
    };
    NormFfn part;
    part.storage = storage_;
    part.activation = activation_;
    part.norm = NormOf(call, "norm", inputs_.Get(call, kNorm), hidden, epsilon_);
    part.gate = matrix("gate", kGate, kGateZeroPoints, kGateBias, static_cast<size_t>(hidden), kMostNeurons);
    part.up = matrix("up", kUp, kUpZeroPoints, kUpBias, static_cast<size_t>(hidden), kMostNeurons);
    if (part.up.rows != part.gate.rows) call.Expect("up", inputs_.Get(call, kUp), inputs_.Get(call, kGate).shape);
    part.down = matrix("down", kDown, kDownZeroPoints, kDownBias, part.gate.rows, kMostHidden);
    if (static_cast<int64_t>(part.down.rows) != hidden)
      call.Refuse("expected " + std::to_string(hidden) + " rows for input down but received " +
                  std::to_string(part.down.rows));
    part.post_norm = NormOf(call, "post_norm", inputs_.Get(call, kPostNorm), hidden, post_epsilon_);
    float* y = call.Output<float>(kY, x.shape);
    stream.sum = call.OptionalOutput<float>(kSum, x.shape);
    TakenScratch scratch;
    RunNormFfn(part, stream, {}, y, *scratch, call.Threads());
  }

 private:
  Storage storage_;
  FfnInputs<kInputs.size()> inputs_;
  Activation activation_;
  float epsilon_;
  float post_epsilon_;
};

}  // namespace

void AddNormFfn(ort::Operators& operators) {
  for (const auto& [storage, name] : kBlockStorages)
    for (const char* variant : kBlockVariants)
      ort::AddOperator<NormFfnKernel>(operators, std::string("NormFFN_") + name + variant, storage);
}

}  // namespace lacuna
