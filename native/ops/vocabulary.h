// Operators as nodes call them: positions of inputs and outputs, their types, and the names of attributes.
// Made by `npm run vocabulary` from src/core/choice.ts and src/ops/contract.ts: do not edit.
#ifndef LACUNA_OPS_VOCABULARY_H_
#define LACUNA_OPS_VOCABULARY_H_

#include <array>

#include "ops/ort.h"

namespace lacuna {

// Op types are <operator>_2_<number>.
inline constexpr int kOperatorSet = 2;

namespace attribute {

inline constexpr char kActivation[] = "activation";
inline constexpr char kCut[] = "cut";
inline constexpr char kDensePrefill[] = "dense_prefill";
inline constexpr char kEpsilon[] = "epsilon";
inline constexpr char kGateInputs[] = "gate_inputs";
inline constexpr char kGateUpSize[] = "gate_up_size";
inline constexpr char kGather[] = "gather";
inline constexpr char kHeadEpsilon[] = "head_epsilon";
inline constexpr char kHiddenSize[] = "hidden_size";
inline constexpr char kIntermediateSize[] = "intermediate_size";
inline constexpr char kKvNumHeads[] = "kv_num_heads";
inline constexpr char kLocalWindowSize[] = "local_window_size";
inline constexpr char kMeasure[] = "measure";
inline constexpr char kMode[] = "mode";
inline constexpr char kNumHeads[] = "num_heads";
inline constexpr char kPostEpsilon[] = "post_epsilon";
inline constexpr char kPredictorSize[] = "predictor_size";
inline constexpr char kQuantile[] = "quantile";
inline constexpr char kReArm[] = "re_arm";
inline constexpr char kRunLength[] = "run_length";
inline constexpr char kScale[] = "scale";
inline constexpr char kSoftcap[] = "softcap";
inline constexpr char kStorage[] = "storage";
inline constexpr char kUpInputs[] = "up_inputs";
inline constexpr char kWarmUp[] = "warm_up";

}  // namespace attribute

namespace statistical_top_k {

inline constexpr char kName[] = "StatisticalTopK";
inline constexpr int kBodies = 2;
enum Input : size_t {
  kX,
  kInputCount,
};
enum Output : size_t {
  kYOutput,
  kKeptOutput,
  kOutputCount,
};
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, true},
}};
inline constexpr const char* kInputNames[] = {
    "x",
};

}  // namespace statistical_top_k

namespace gated_ffn {

inline constexpr char kName[] = "GatedFFN";
inline constexpr int kBodies = 16;
enum Input : size_t {
  kX,
  kSkip,
  kNorm,
  kActive,
  kResidual,
  kGate,
  kGateScales,
  kGateZeroPoints,
  kUp,
  kUpScales,
  kUpZeroPoints,
  kDown,
  kDownScales,
  kDownZeroPoints,
  kGateUp,
  kGateUpScales,
  kGateBias,
  kUpBias,
  kDownBias,
  kPostNorm,
  kThreshold,
  kWeights,
  kRecords,
  kPredictor,
  kPredictorScales,
  kGateUpLower,
  kInputCount,
};
enum Output : size_t {
  kYOutput,
  kSumOutput,
  kSaturationOutput,
  kKeptOutput,
  kOutputCount,
};
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, true},
}};
inline constexpr const char* kInputNames[] = {
    "x",
    "skip",
    "norm",
    "active",
    "residual",
    "gate",
    "gate_scales",
    "gate_zero_points",
    "up",
    "up_scales",
    "up_zero_points",
    "down",
    "down_scales",
    "down_zero_points",
    "gate_up",
    "gate_up_scales",
    "gate_bias",
    "up_bias",
    "down_bias",
    "post_norm",
    "threshold",
    "weights",
    "records",
    "predictor",
    "predictor_scales",
    "gate_up_lower",
};

}  // namespace gated_ffn

namespace ffnskip_start {

inline constexpr char kName[] = "FFNSkipStart";
inline constexpr int kBodies = 1;
enum Input : size_t {
  kPositionIds,
  kInputCount,
};
enum Output : size_t {
  kStateOutput,
  kActiveOutput,
  kOutputCount,
};
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, true},
}};
inline constexpr const char* kInputNames[] = {
    "position_ids",
};

}  // namespace ffnskip_start

namespace ffnskip_step {

inline constexpr char kName[] = "FFNSkipStep";
inline constexpr int kBodies = 1;
enum Input : size_t {
  kState,
  kSaturation,
  kThreshold,
  kInputCount,
};
enum Output : size_t {
  kNextStateOutput,
  kNextActiveOutput,
  kOutputCount,
};
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, true},
}};
inline constexpr const char* kInputNames[] = {
    "state",
    "saturation",
    "threshold",
};

}  // namespace ffnskip_step

namespace norm_attention {

inline constexpr char kName[] = "NormAttention";
inline constexpr int kBodies = 8;
enum Input : size_t {
  kX,
  kSkip,
  kNorm,
  kQuery,
  kQueryScales,
  kQueryZeroPoints,
  kQueryBias,
  kKey,
  kKeyScales,
  kKeyZeroPoints,
  kKeyBias,
  kValue,
  kValueScales,
  kValueZeroPoints,
  kValueBias,
  kOutput,
  kOutputScales,
  kOutputZeroPoints,
  kOutputBias,
  kPastKey,
  kPastValue,
  kSeqlensK,
  kTotalSequenceLength,
  kCosines,
  kSines,
  kQueryNorm,
  kKeyNorm,
  kPostNorm,
  kInputCount,
};
enum Output : size_t {
  kYOutput,
  kPresentKeyOutput,
  kPresentValueOutput,
  kSumOutput,
  kOutputCount,
};
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true},
}};
inline constexpr const char* kInputNames[] = {
    "x",
    "skip",
    "norm",
    "query",
    "query_scales",
    "query_zero_points",
    "query_bias",
    "key",
    "key_scales",
    "key_zero_points",
    "key_bias",
    "value",
    "value_scales",
    "value_zero_points",
    "value_bias",
    "output",
    "output_scales",
    "output_zero_points",
    "output_bias",
    "past_key",
    "past_value",
    "seqlens_k",
    "total_sequence_length",
    "cosines",
    "sines",
    "query_norm",
    "key_norm",
    "post_norm",
};

}  // namespace norm_attention

namespace norm_product {

inline constexpr char kName[] = "NormProduct";
inline constexpr int kBodies = 4;
enum Input : size_t {
  kX,
  kSkip,
  kNorm,
  kWeight,
  kWeightScales,
  kWeightZeroPoints,
  kInputCount,
};
enum Output : size_t {
  kYOutput,
  kOutputCount,
};
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true},
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
}};
inline constexpr const char* kInputNames[] = {
    "x",
    "skip",
    "norm",
    "weight",
    "weight_scales",
    "weight_zero_points",
};

}  // namespace norm_product

namespace spark_attention {

inline constexpr char kName[] = "SparkAttention";
inline constexpr int kBodies = 2;
enum Input : size_t {
  kProjected,
  kPastKey,
  kPastValue,
  kSeqlensK,
  kTotalSequenceLength,
  kQuantiles,
  kCosines,
  kSines,
  kOtherCosines,
  kOtherSines,
  kInputCount,
};
enum Output : size_t {
  kYOutput,
  kPresentKeyOutput,
  kPresentValueOutput,
  kAttendedOutput,
  kOutputCount,
};
inline constexpr std::array<ort::Port, kInputCount> kInputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
}};
inline constexpr std::array<ort::Port, kOutputCount> kOutputs = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, true},
}};
inline constexpr const char* kInputNames[] = {
    "projected",
    "past_key",
    "past_value",
    "seqlens_k",
    "total_sequence_length",
    "quantiles",
    "cosines",
    "sines",
    "other_cosines",
    "other_sines",
};

}  // namespace spark_attention

}  // namespace lacuna

#endif  // LACUNA_OPS_VOCABULARY_H_
