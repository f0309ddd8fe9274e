#include "kernels/ffn_skip.h"

#include <limits>

#include "ops/operators.h"
#include "ops/vocabulary.h"

namespace lacuna {
namespace {

class FfnSkipStartKernel {
 public:
  static constexpr auto kInputs = ffnskip_start::kInputs;
  static constexpr auto kOutputs = ffnskip_start::kOutputs;

  explicit FfnSkipStartKernel(const ort::Node& node)
      : warm_up_(node.Int(attribute::kWarmUp)), dense_prefill_(node.Flag(attribute::kDensePrefill)) {}

  void Compute(ort::Call& call) {
    const ort::Tensor positions = call.Input(ffnskip_start::kPositionIds);
    if (positions.shape.rank() != 2) call.Refuse("expected [b, s] for input position_ids but received " + positions.shape.Text());
    int32_t* state = call.Output<int32_t>(ffnskip_start::kStateOutput, positions.shape);
    bool* active = call.OptionalOutput<bool>(ffnskip_start::kActiveOutput, positions.shape);
    const bool never = dense_prefill_ && positions.shape[1] > 1;
    RunFfnSkipStart(positions.shape.elements(), positions.As<int64_t>(), warm_up_, never, state, active);
  }

 private:
  int64_t warm_up_;
  // Calls with more than one token in a row skip nothing.
  bool dense_prefill_;
};

class FfnSkipStepKernel {
 public:
  static constexpr auto kInputs = ffnskip_step::kInputs;
  static constexpr auto kOutputs = ffnskip_step::kOutputs;

  explicit FfnSkipStepKernel(const ort::Node& node) {
    // It becomes a state, which is counted down in 32 bits.
    rule_.run_length = static_cast<int32_t>(node.Int(attribute::kRunLength, 0, std::numeric_limits<int32_t>::max()));
    rule_.re_arm = node.Int(attribute::kReArm, 0, 1) == 1;
  }

  void Compute(ort::Call& call) {
    const ort::Tensor state = call.Input(ffnskip_step::kState), saturation = call.Input(ffnskip_step::kSaturation),
                      threshold = call.Input(ffnskip_step::kThreshold);
    call.Expect("saturation", saturation, state.shape);
    call.Expect("threshold", threshold, {});
    FfnSkipRule rule = rule_;
    rule.threshold = *threshold.As<float>();
    RunFfnSkipStep(rule, state.shape.elements(), state.As<int32_t>(), saturation.As<float>(),
                   call.OptionalOutput<int32_t>(ffnskip_step::kNextStateOutput, state.shape),
                   call.OptionalOutput<bool>(ffnskip_step::kNextActiveOutput, state.shape));
  }

 private:
  FfnSkipRule rule_;
};

}  // namespace

void AddFfnSkip(ort::Operators& operators) {
  ort::AddOperators<FfnSkipStartKernel>(operators, ffnskip_start::kName, kOperatorSet, ffnskip_start::kBodies);
  ort::AddOperators<FfnSkipStepKernel>(operators, ffnskip_step::kName, kOperatorSet, ffnskip_step::kBodies);
}

}  // namespace lacuna
