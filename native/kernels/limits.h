// How large the dimensions of an operator may be. Each limit is far above what published models have, and so low that whatever
// kernels multiply stays within 64 bits: what is beyond it is a mistake or an attack, and refused with its name.
#ifndef LACUNA_KERNELS_LIMITS_H_
#define LACUNA_KERNELS_LIMITS_H_

#include <cstdint>

namespace lacuna {

// Entries of a token in the residual stream; published models have 18,432 at most. Scratch of 64 tokens takes 256 MiB then.
constexpr int64_t kMostHidden = 1 << 20;
// Neurons of an FFN; published models have 73,728 at most. Numbers of neurons are stored in 32 bits.
constexpr int64_t kMostNeurons = 1 << 20;
// Rows of a head, a word each; published vocabularies have 262,208 words at most. Numbers of rows are stored in 32 bits.
constexpr int64_t kMostWords = 1 << 24;
// Heads of queries; published models have 128 at most. With the widest heads a token's queries are then 2^21 floats.
constexpr int64_t kMostHeads = 1 << 12;
// Of an attention head; published models have 256 at most.
constexpr int64_t kMostHeadSize = 512;
// Of a head of a cache, whatever operator fills it; published models have 576 at most.
constexpr int64_t kMostHeadEntries = 1 << 16;
// Tokens of a call, all rows together, and positions of a cache: ONNX Runtime counts both in 32 bits with a sign.
constexpr int64_t kMostTokens = INT32_MAX;

}  // namespace lacuna

#endif  // LACUNA_KERNELS_LIMITS_H_
