#include "kernels/decoder.h"
#include "ops/decoder_inputs.h"
#include "ops/operators.h"

namespace lacuna {
namespace {

// Positions of inputs, as src/ops/contract.ts fixes them.
enum Input { kX, kSkip, kNorm, kWeight, kWeightScales };

class NormProductKernel {
 public:
  using Settings = Storage;
  static constexpr std::array<ort::Port, 5> kInputs = {{kFloats, kFloats, kFloats, kCodes, kFloats}};
  static constexpr std::array<ort::Port, 1> kOutputs = {{kFloats}};

  NormProductKernel(Storage storage, const ort::Node& node) : storage_(storage), inputs_(node, 0), epsilon_(node.Float("epsilon")) {}

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(kX);
    const Stream stream = StreamOf(call, x, call.Input(kSkip));
    const int64_t hidden = x.shape[2];
    NormProduct part;
    part.storage = storage_;
    part.norm = NormOf(call, "norm", inputs_.Get(call, kNorm), hidden, epsilon_);
    part.weight = BlockMatrixOf(call, "weight", inputs_.Get(call, kWeight), inputs_.Get(call, kWeightScales),
                                storage_, static_cast<size_t>(hidden));
    float* y = call.Output<float>(0, {x.shape[0], x.shape[1], static_cast<int64_t>(part.weight.rows)});
    TakenScratch scratch;
    RunNormProduct(part, stream, y, *scratch, call.Threads());
  }

 private:
  Storage storage_;
  FfnInputs<kInputs.size()> inputs_;
  float epsilon_;
};

}  // namespace

void AddNormProduct(ort::Operators& operators) {
  for (const auto& [storage, name] : kBlockStorages)
    ort::AddOperator<NormProductKernel>(operators, std::string("NormProduct_") + name, storage);
}

}  // namespace lacuna
