// What a caller will read of the logits that it has given memory for, so that what it will not is not computed.
//
// No model says it: a graph is the same for whoever samples, whoever scores every token, and hosts without kernels. So it does not pass
// through ONNX Runtime but beside it, and is about one piece of memory: a product whose result is another one's input, or
// goes elsewhere, does not see it.
#ifndef LACUNA_OPS_WANTED_LOGITS_H_
#define LACUNA_OPS_WANTED_LOGITS_H_

#include <cstddef>
#include <cstdint>

#ifdef _WIN32
#define LACUNA_EXPORT __declspec(dllexport)
#else
#define LACUNA_EXPORT __attribute__((visibility("default")))
#endif

namespace lacuna {

struct WantedLogits {
  // The last so many tokens'.
  size_t tokens = SIZE_MAX;
  // Of each token the so many largest and those that equal the least of them, while others may be less than they are; 0: all.
  size_t largest = 0;
};

// What this thread said last of what is written to `logits`; of other memory everything is wanted.
WantedLogits WantedOf(const float* logits);

}  // namespace lacuna

// Says it for what this thread runs from here on, until it says it of other memory, or of none: null.
extern "C" LACUNA_EXPORT void LacunaWantLogits(const float* logits, size_t tokens, size_t largest) noexcept;

#endif  // LACUNA_OPS_WANTED_LOGITS_H_
