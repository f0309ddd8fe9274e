// GatedFFN: y = down^T (act(gate n) * (up n)), n = norm(x + skip) or x as it is, over the neurons that a selector chooses for
// each token, and for masked variants the saturation cos(residual, residual + y). docs/operators.md has the mathematics.
#ifndef LACUNA_KERNELS_GATED_FFN_H_
#define LACUNA_KERNELS_GATED_FFN_H_

#include <cstddef>
#include <cstdint>

#include "kernels/matrix.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"
#include "kernels/stream.h"

namespace lacuna {

enum class Activation { kSilu, kGeluTanh, kGelu, kRelu };

enum class Selector {
  kNone,
  // |act(gate_j)| * score_weights_j >= threshold, or >= threshold * the token's mean of the left side.
  kThreshold,
  kThresholdOfMean,
  // Statistical top-k of the gate, before the activation.
  kStatisticalSoft,
  kStatisticalHard,
  // |act(gate_j) * up_j| * score_weights_j instead of the left side: `up` is read whole, `down` is not.
  kProduct,
  kProductOfMean,
  // The same of predictor_gate and predictor_up in place of gate and up: of those, chosen rows alone are read.
  kPredictor,
  kPredictorOfMean,
  // The same where the predictor is the upper plane of gate and up, and what is read of chosen rows is what that lacks.
  kNested,
  kNestedOfMean,
};

inline constexpr bool IsStatistical(Selector selector) {
  return selector == Selector::kStatisticalSoft || selector == Selector::kStatisticalHard;
}
inline constexpr bool IsProduct(Selector selector) {
  return selector == Selector::kProduct || selector == Selector::kProductOfMean;
}
inline constexpr bool IsNested(Selector selector) {
  return selector == Selector::kNested || selector == Selector::kNestedOfMean;
}
inline constexpr bool IsPredicted(Selector selector) {
  return selector == Selector::kPredictor || selector == Selector::kPredictorOfMean || IsNested(selector);
}
// What is chosen depends on a sum over all neurons.
inline constexpr bool IsRelative(Selector selector) {
  return IsStatistical(selector) || selector == Selector::kThresholdOfMean || selector == Selector::kProductOfMean ||
         selector == Selector::kPredictorOfMean || selector == Selector::kNestedOfMean;
}
// Neurons are measured by a score, against `threshold`.
inline constexpr bool IsScored(Selector selector) { return selector != Selector::kNone && !IsStatistical(selector); }

// What stays the same from call to call; null where a model has none.
struct GatedFfn {
  size_t hidden = 0;
  size_t neurons = 0;
  Storage storage = Storage::kFp32;
  // What of x gate and up are multiplied with: all of it, or in a Spark FFN the first r entries and the others.
  Range gate_inputs;
  Range up_inputs;
  // [neurons, gate_inputs.count], [neurons, up_inputs.count], [neurons, hidden]. Of selector nested, `gate` and `up` are the
  // lower planes, in int4: what is multiplied with is the predictor and a sixteenth of these.
  Matrix gate;
  Matrix up;
  Matrix down;
  // Of selectors predictor and nested: gate and up in int4, whatever `storage` is.
  Matrix predictor_gate;
  Matrix predictor_up;
  const float* gate_bias = nullptr;
  const float* up_bias = nullptr;
  const float* down_bias = nullptr;
  // Of the stream, and of y.
  RmsNorm norm;
  RmsNorm post_norm;
  const float* score_weights = nullptr;
  Activation activation = Activation::kSilu;
  Selector selector = Selector::kNone;
  float threshold = 0;
  // Of selector statistical: Q(1 - density).
  float quantile = 0;
};

// What gate and up are stored in.
inline constexpr Storage ProjectionStorage(const GatedFfn& ffn) {
  return IsNested(ffn.selector) ? Storage::kInt4 : ffn.storage;
}

struct GatedFfnTokens {
  // Without a norm there is no skip. The sum is that of inactive tokens too.
  Stream stream;
  Mask mask;
  // Whatever the selector says, every neuron is chosen.
  bool choose_all = false;
  // [tokens, hidden]
  float* y = nullptr;
  // [tokens] neurons chosen, 0 of inactive tokens; null when not wanted.
  int32_t* kept = nullptr;
};

// Only chosen neurons' rows of `up` and `down` are read, but for selector product, which reads all of `up`. A token's result is the same, bit for bit, however many threads
// there are and whichever tokens come with it. Throws std::bad_alloc when scratch cannot grow; steady calls do not allocate.
void RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, Scratch& scratch, const Parallel& parallel);

}  // namespace lacuna

#endif  // LACUNA_KERNELS_GATED_FFN_H_
