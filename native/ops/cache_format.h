// Says in which format the caller's session keeps keys and values.
//
// A model does not contain this, for the reasons of wanted_logits.h: a graph has float32 caches in every host. A session of our
// own binds less memory than that to the same inputs, and tells the library how to use it.
#ifndef LACUNA_OPS_CACHE_FORMAT_H_
#define LACUNA_OPS_CACHE_FORMAT_H_

#include "kernels/cache_format.h"
#include "ops/wanted_logits.h"

namespace lacuna {

// What this thread's caller said last; at first fp32.
CacheFormat CacheFormatOfCaller();

}  // namespace lacuna

// For this thread's runs from here on: a number of CacheFormat. NormAttention then takes its caches as kernels/decoder.h describes
// them, and refuses those that are not appended to in place.
extern "C" LACUNA_EXPORT void LacunaCacheFormat(int format) noexcept;

#endif  // LACUNA_OPS_CACHE_FORMAT_H_
