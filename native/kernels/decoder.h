// The parts of a decoder layer, and its head, for weights in blocks of 32 (matrix.h). Each part is an RMS norm of the
// residual stream, after adding the result of the part before, and the products that read it. docs/operators.md has the
// mathematics.
#ifndef LACUNA_KERNELS_DECODER_H_
#define LACUNA_KERNELS_DECODER_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/cache_format.h"
#include "kernels/gated_ffn.h"
#include "kernels/limits.h"
#include "kernels/matrix.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"
#include "kernels/stream.h"

namespace lacuna {

// x W^T for W [rows, columns], plus a bias [rows] if there is one.
struct BlockMatrix {
  Matrix stored;
  size_t rows = 0;
  size_t columns = 0;
  const float* bias = nullptr;
};

// y [tokens, rows] = product with norm(stream), softly capped.
struct NormProduct {
  Storage storage = Storage::kInt4;
  RmsNorm norm;
  BlockMatrix weight;
  // c makes them c tanh(y / c); 0 leaves them unchanged.
  float softcap = 0;
};

// y [tokens, hidden] = post_norm(down(act(gate n) * up n)), n = norm(stream), or the stream if there is no norm.
struct NormFfn {
  Storage storage = Storage::kInt4;
  Activation activation = Activation::kSilu;
  RmsNorm norm;
  // [neurons, hidden] twice, and [hidden, neurons].
  BlockMatrix gate;
  BlockMatrix up;
  BlockMatrix down;
  RmsNorm post_norm;
};

// y [tokens, hidden] = post_norm(output(attention(norm(stream)))): grouped-query attention with rotary positions.
struct NormAttention {
  Storage storage = Storage::kInt4;
  RmsNorm norm;
  // [heads * head_size, hidden], [kv_heads * head_size, hidden] twice, [hidden, heads * head_size].
  BlockMatrix query;
  BlockMatrix key;
  BlockMatrix value;
  BlockMatrix output;
  size_t heads = 0;
  size_t kv_heads = 0;
  // A multiple of 16 up to kMostHeadSize.
  size_t head_size = 0;
  // Norms of each head, before positions.
  RmsNorm query_norm;
  RmsNorm key_norm;
  // [positions, head_size / 2]. Entry i turns with entry i + head_size / 2.
  const float* cosines = nullptr;
  const float* sines = nullptr;
  // For scores: `softcap` c makes them c tanh(score / c); 0 leaves them unchanged.
  float scale = 1;
  float softcap = 0;
  // A token sees itself and the window - 1 before it; 0: all earlier ones.
  size_t window = 0;
  RmsNorm post_norm;
};

// Keys and values, [rows, kv_heads, capacity, head_size] of fp32; or as much room in each head for another layout, which holds
// CachePositions(layout, capacity, head_size) tokens (cache_format.h). Unless the layout is plain, a cache is its own past.
struct Cache {
  const float* past_key = nullptr;
  const float* past_value = nullptr;
  size_t past_capacity = 0;
  // May be the past itself, which is then appended to in place. Otherwise the visible part of the past is copied.
  float* key = nullptr;
  float* value = nullptr;
  size_t capacity = 0;
  // [rows]: tokens seen before. A row's new tokens are at the following positions. They fit into the capacity.
  const size_t* seen = nullptr;
  size_t rows = 1;
  // Where it says how many tokens are attended to, that holds for parts without a window, in calls of one token a row. All other
  // tokens attend to all that they see.
  CacheLayout layout = {};
};

// For a head of keys or values in all rows: copies the past to a cache that is not the past itself, and writes zeros
// after the next `fed` tokens of each row.
inline void CopySeen(const Cache& cache, const NormAttention& part, size_t fed, size_t head, const float* past, float* to) {
  if (past == to) return;
  for (size_t row = 0; row < cache.rows; ++row) {
    const size_t index = row * part.kv_heads + head, seen = cache.seen[row];
    float* const place = to + index * cache.capacity * part.head_size;
    std::copy_n(past + index * cache.past_capacity * part.head_size, seen * part.head_size, place);
    std::fill(place + (seen + fed) * part.head_size, place + cache.capacity * part.head_size, 0.0f);
  }
}

// Inputs of products are rounded to 8 bits in blocks. A token's result is the same, bit for bit, for any number of
// threads and whichever tokens come with it. All throw std::bad_alloc when scratch memory cannot grow. Steady calls do
// not allocate.
void RunNormProduct(const NormProduct& part, const Stream& stream, float* y, Scratch& scratch, const Parallel& parallel);
// Without a norm there is no skip. If some tokens are active, the time is the same as if all were.
void RunNormFfn(const NormFfn& part, const Stream& stream, const Mask& mask, float* y, Scratch& scratch,
                const Parallel& parallel);
// `stream.tokens` is a multiple of cache.rows, row by row.
void RunNormAttention(const NormAttention& part, const Stream& stream, const Cache& cache, float* y, Scratch& scratch,
                      const Parallel& parallel);

}  // namespace lacuna

#endif  // LACUNA_KERNELS_DECODER_H_
