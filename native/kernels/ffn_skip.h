// FFNSkipStart and FFNSkipStep: FFN-SkipLLM's state of a token, handed from one skippable block to the next. There is
// so little work that plain loops are the kernels.
#ifndef LACUNA_KERNELS_FFN_SKIP_H_
#define LACUNA_KERNELS_FFN_SKIP_H_

#include <cstddef>
#include <cstdint>

namespace lacuna {

// `never`: no token of this call skips.
inline void RunFfnSkipStart(size_t tokens, const int64_t* positions, int64_t warm_up, bool never, int32_t* state,
                            bool* active) {
  for (size_t i = 0; i < tokens; ++i) {
    state[i] = never || positions[i] < warm_up ? -1 : 0;
    if (active != nullptr) active[i] = true;
  }
}

struct FfnSkipRule {
  float threshold = 0;
  int32_t run_length = 0;
  bool re_arm = true;
};

inline int32_t NextSkipState(const FfnSkipRule& rule, int32_t state, float saturation) {
  if (state > 1) return state - 1;
  if (state == 1) return rule.re_arm ? 0 : -1;
  return state == 0 && saturation >= rule.threshold ? rule.run_length : state;
}

inline void RunFfnSkipStep(const FfnSkipRule& rule, size_t tokens, const int32_t* state, const float* saturation,
                           int32_t* next_state, bool* next_active) {
  for (size_t i = 0; i < tokens; ++i) {
    const int32_t next = NextSkipState(rule, state[i], saturation[i]);
    if (next_state != nullptr) next_state[i] = next;
    if (next_active != nullptr) next_active[i] = next <= 0;
  }
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_FFN_SKIP_H_
