// Words of files that kernels know as enums. Files hold the words, so the order of an enum is free to change.
// Made by `npm run vocabulary` from src/core/choice.ts and src/ops/contract.ts: do not edit.
#ifndef LACUNA_KERNELS_VOCABULARY_H_
#define LACUNA_KERNELS_VOCABULARY_H_

namespace lacuna {

enum class Activation { kSilu, kGeluTanh, kGelu, kRelu, kDrelu };
inline constexpr const char* kActivationNames[] = {"silu", "gelu_tanh", "gelu", "relu", "drelu"};

enum class Storage { kFp32, kFp16, kBf16, kInt8, kInt6, kInt5, kInt4 };
inline constexpr const char* kStorageNames[] = {"fp32", "fp16", "bf16", "int8", "int6", "int5", "int4"};

enum class Measure { kNone, kGate, kActivation, kProduct, kPredicted, kNested };
inline constexpr const char* kMeasureNames[] = {"none", "gate", "activation", "product", "predicted", "nested"};

enum class Cut { kAbsolute, kMean, kDeviation };
inline constexpr const char* kCutNames[] = {"absolute", "mean", "deviation"};

enum class TopKMode { kSoft, kHard };
inline constexpr const char* kTopKModeNames[] = {"soft", "hard"};

// Whether rows of chosen neurons alone are read of gate and of up, as they are of `down`; and whether a neuron is measured by
// the product of what is read of all neurons, act(gate) and up.
struct MeasureFacts {
  bool gate_rows, up_rows, is_product;
};
inline constexpr MeasureFacts kMeasures[] = {
    {false, false, false},  // none
    {false, true, true},  // gate
    {false, true, true},  // activation
    {false, false, true},  // product
    {true, true, false},  // predicted
    {true, true, false},  // nested
};

// By measure and cut: whether there is that choice.
inline constexpr bool kMeasureCuts[][3] = {
    {false, false, false},  // none
    {false, false, true},  // gate
    {true, true, false},  // activation
    {true, true, false},  // product
    {true, true, false},  // predicted
    {true, true, false},  // nested
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_VOCABULARY_H_
