// GatedFFN: y = down^T (act(gate n) * (up n)), n = norm(x + skip) or x as it is, over the neurons that are chosen for
// each token, and for masked variants the saturation cos(residual, residual + y). docs/operators.md has the mathematics.
#ifndef LACUNA_KERNELS_GATED_FFN_H_
#define LACUNA_KERNELS_GATED_FFN_H_

#include <cstddef>
#include <cstdint>

#include "kernels/matrix.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"
#include "kernels/stream.h"
#include "kernels/vocabulary.h"

namespace lacuna {

// Which neurons count, as src/core/choice.ts has it: those whose measure reaches the cut.
struct Choice {
  Measure measure = Measure::kNone;
  Cut cut = Cut::kAbsolute;
  // Of cut deviation.
  TopKMode mode = TopKMode::kSoft;
};

inline constexpr bool HasCut(Measure measure, Cut cut) {
  return kMeasureCuts[static_cast<size_t>(measure)][static_cast<size_t>(cut)];
}
inline constexpr bool Chooses(const Choice& choice) { return choice.measure != Measure::kNone; }
inline constexpr bool IsStatistical(const Choice& choice) { return Chooses(choice) && choice.cut == Cut::kDeviation; }
inline constexpr const MeasureFacts& FactsOf(const Choice& choice) { return kMeasures[static_cast<size_t>(choice.measure)]; }
inline constexpr bool IsNested(const Choice& choice) { return choice.measure == Measure::kNested; }
// Neurons are measured by what a predictor makes of x.
inline constexpr bool IsPredicted(const Choice& choice) { return choice.measure == Measure::kPredicted || IsNested(choice); }
// What is chosen depends on a sum over all neurons.
inline constexpr bool IsRelative(const Choice& choice) { return Chooses(choice) && choice.cut != Cut::kAbsolute; }
// Neurons are measured by a score, against `threshold`.
inline constexpr bool IsScored(const Choice& choice) { return Chooses(choice) && choice.cut != Cut::kDeviation; }

// What stays the same from call to call; null where a model has none.
struct GatedFfn {
  size_t hidden = 0;
  size_t neurons = 0;
  Storage storage = Storage::kFp32;
  // What of x gate and up are multiplied with: all of it, or in a Spark FFN the first r entries and the others.
  Range gate_inputs;
  Range up_inputs;
  // [neurons, gate_inputs.count], [neurons, up_inputs.count], [neurons, hidden]. Of measure nested, `gate` and `up` are the
  // lower planes, in int4: what is multiplied with is the predictor and a sixteenth of these.
  Matrix gate;
  Matrix up;
  Matrix down;
  // Of measures predicted and nested: gate and up in int4, whatever `storage` is.
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
  Choice choice;
  float threshold = 0;
  // Of cut deviation: Q(1 - density).
  float quantile = 0;
};

// What a neuron's activation is multiplied with, given the product of its row of up.
constexpr float UpFactor(const GatedFfn& ffn, size_t neuron, float product) {
  const float up = product + (ffn.up_bias == nullptr ? 0 : ffn.up_bias[neuron]);
  // NaN stays.
  return ffn.activation == Activation::kDrelu && up < 0 ? 0 : up;
}

// What gate and up are stored in.
inline constexpr Storage ProjectionStorage(const GatedFfn& ffn) {
  return IsNested(ffn.choice) ? Storage::kInt4 : ffn.storage;
}

struct GatedFfnTokens {
  // Without a norm there is no skip. The sum is that of inactive tokens too.
  Stream stream;
  Mask mask;
  // Every neuron is chosen, whatever the choice.
  bool choose_all = false;
  // [tokens, hidden]
  float* y = nullptr;
  // [tokens] neurons chosen, 0 of inactive tokens; null when not wanted.
  int32_t* kept = nullptr;
};

// Only chosen neurons' rows are read of `down`, and of `gate` and `up` where the choice is without them. A token's result is the
// same, bit for bit, however many threads there are and whichever tokens come with it. Throws std::bad_alloc when scratch cannot
// grow; steady calls do not allocate.
void RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, Scratch& scratch, const Parallel& parallel);

}  // namespace lacuna

#endif  // LACUNA_KERNELS_GATED_FFN_H_
