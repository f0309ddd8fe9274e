// The maximum dimensions of an operator. Each limit is far above published models, and so low that all products of
// dimensions fit into 64 bits. A larger dimension is a mistake or an attack, and is refused with its name.
#ifndef LACUNA_KERNELS_LIMITS_H_
#define LACUNA_KERNELS_LIMITS_H_

#include <cstdint>

namespace lacuna {

// Entries of a token in the residual stream. Published models have 18,432 at most. At the limit, scratch memory of 64
// tokens is 256 MiB.
constexpr int64_t kMostHidden = 1 << 20;
// Neurons of an FFN. Published models have 73,728 at most. Numbers of neurons are stored in 32 bits.
constexpr int64_t kMostNeurons = 1 << 20;
// Rows of a head, one for each word. Published vocabularies have 262,208 words at most. Numbers of rows are stored in
// 32 bits.
constexpr int64_t kMostWords = 1 << 24;
// Heads of queries. Published models have 128 at most. With the widest heads a token's queries are then 2^21 floats.
constexpr int64_t kMostHeads = 1 << 12;
// Entries of an attention head. Published models have 256 at most.
constexpr int64_t kMostHeadSize = 512;
// Entries of a head in a cache, whatever operator fills it. Published models have 576 at most.
constexpr int64_t kMostHeadEntries = 1 << 16;
// Tokens of a call, all rows together, and positions of a cache. ONNX Runtime counts both in signed 32-bit integers.
constexpr int64_t kMostTokens = INT32_MAX;

}  // namespace lacuna

#endif  // LACUNA_KERNELS_LIMITS_H_
