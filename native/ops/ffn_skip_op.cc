#include "kernels/ffn_skip.h"

#include <limits>

#include "ops/operators.h"

namespace lacuna {
namespace {

constexpr ort::Port kState = {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32};
constexpr ort::Port kActive = {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, true};

class FfnSkipStartKernel {
 public:
  // Calls with more than one token a row skip nothing.
  struct Settings {
    bool decode;
  };
  static constexpr std::array<ort::Port, 1> kInputs = {{{ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64}}};
  static constexpr std::array<ort::Port, 2> kOutputs = {{kState, kActive}};

  FfnSkipStartKernel(Settings settings, const ort::Node& node) : settings_(settings), warm_up_(node.Int("warm_up")) {}

  void Compute(ort::Call& call) {
    const ort::Tensor positions = call.Input(0);
    if (positions.shape.rank() != 2) call.Refuse("expected [b, s] for input position_ids but received " + positions.shape.Text());
    int32_t* state = call.Output<int32_t>(0, positions.shape);
    bool* active = call.OptionalOutput<bool>(1, positions.shape);
    const bool never = settings_.decode && positions.shape[1] > 1;
    RunFfnSkipStart(positions.shape.elements(), positions.As<int64_t>(), warm_up_, never, state, active);
  }

 private:
  Settings settings_;
  int64_t warm_up_;
};

class FfnSkipStepKernel {
 public:
  struct Settings {
    bool re_arm;
  };
  static constexpr std::array<ort::Port, 3> kInputs = {
      {kState, {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}, {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}};
  static constexpr std::array<ort::Port, 2> kOutputs = {{kState, kActive}};

  FfnSkipStepKernel(Settings settings, const ort::Node& node) {
    // It becomes a state, which counts it down in 32 bits.
    rule_.run_length = static_cast<int32_t>(node.Int("run_length", 0, std::numeric_limits<int32_t>::max()));
    rule_.re_arm = settings.re_arm;
  }

  void Compute(ort::Call& call) {
    const ort::Tensor state = call.Input(0), saturation = call.Input(1), threshold = call.Input(2);
    call.Expect("saturation", saturation, state.shape);
    call.Expect("threshold", threshold, {});
    FfnSkipRule rule = rule_;
    rule.threshold = *threshold.As<float>();
    RunFfnSkipStep(rule, state.shape.elements(), state.As<int32_t>(), saturation.As<float>(),
                   call.OptionalOutput<int32_t>(0, state.shape), call.OptionalOutput<bool>(1, state.shape));
  }

 private:
  FfnSkipRule rule_;
};

}  // namespace

void AddFfnSkip(ort::Operators& operators) {
  ort::AddOperator<FfnSkipStartKernel>(operators, "FFNSkipStart", {.decode = false});
  ort::AddOperator<FfnSkipStartKernel>(operators, "FFNSkipStart_decode", {.decode = true});
  ort::AddOperator<FfnSkipStepKernel>(operators, "FFNSkipStep", {.re_arm = true});
  ort::AddOperator<FfnSkipStepKernel>(operators, "FFNSkipStep_once", {.re_arm = false});
}

}  // namespace lacuna
