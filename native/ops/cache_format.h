// Says how the caller's session keeps keys and values, and how many tokens a query attends to.
//
// A model does not contain this, for the reasons of wanted_logits.h: a graph has float32 caches in every host. A session of our
// own binds other memory to the same inputs, and tells the library how to use it.
#ifndef LACUNA_OPS_CACHE_FORMAT_H_
#define LACUNA_OPS_CACHE_FORMAT_H_

#include <cstddef>

#include "kernels/cache_format.h"
#include "ops/wanted_logits.h"

namespace lacuna {

// What this thread's caller said last; at first a plain one.
CacheLayout CacheLayoutOfCaller();

}  // namespace lacuna

// For this thread's runs from here on: a number of CacheFormat, and tokens to attend to (0: all; at least kLeastAttended).
// NormAttention then takes its caches as kernels/decoder.h describes them, and refuses those that are not appended to in place.
extern "C" LACUNA_EXPORT void LacunaCacheLayout(int format, size_t attended) noexcept;

#endif  // LACUNA_OPS_CACHE_FORMAT_H_
