// Says which logits the caller will read, so that the others are not computed.
//
// A model does not contain this: a graph is the same for a caller that samples, for one that scores every token, and
// for hosts without kernels. So it does not go through ONNX Runtime, but directly to the library, and it concerns one
// piece of memory. A product that writes its result elsewhere, for example to another product's input, is not affected.
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
  // Logits are wanted for this number of last tokens.
  size_t tokens = SIZE_MAX;
  // For each token, this number of largest logits and those that equal the least of them are exact, and others may be
  // smaller; 0: all are exact.
  size_t largest = 0;
};

// The last wish of this thread for `logits`. For other memory, everything is wanted.
WantedLogits WantedOf(const float* logits);

}  // namespace lacuna

// Sets the wish for this thread's runs from here on, until it is set for other memory or for none (null).
extern "C" LACUNA_EXPORT void LacunaWantLogits(const float* logits, size_t tokens, size_t largest) noexcept;

#endif  // LACUNA_OPS_WANTED_LOGITS_H_
