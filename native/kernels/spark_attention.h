// Spark Transformer's attention (2506.06644, section 3): the first entries of each head score keys, keys whose scores
// reach a threshold are attended to, and only their other entries and their values are read. docs/operators.md has the
// mathematics.
#ifndef LACUNA_KERNELS_SPARK_ATTENTION_H_
#define LACUNA_KERNELS_SPARK_ATTENTION_H_

#include <cstddef>
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace lacuna {

// Rotary positions of some entries of a head: [positions, width / 2]. Entry i turns with entry i + width / 2.
struct Rotary {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

struct SparkAttention {
  size_t heads = 0;
  size_t kv_heads = 0;
  size_t head_size = 0;
  // Entries of a head that score keys; both parts are even.
  size_t predictor_size = 0;
  // c makes scores c tanh(score / c); 0 leaves them unchanged.
  float softcap = 0;
  Rotary predictor;
  Rotary others;
  // [positions]: by which a token that sees i + 1 keys multiplies the deviation of its scores.
  const float* quantiles = nullptr;
};

// Keys and values of a row, [kv_heads, capacity, head_size].
struct SparkCache {
  const float* past_key = nullptr;
  const float* past_value = nullptr;
  size_t past_capacity = 0;
  // May be the past itself, which is then appended to in place. Otherwise the visible part of the past is copied.
  float* key = nullptr;
  float* value = nullptr;
  size_t capacity = 0;
  // Tokens seen before. The new ones are at the following positions, and fit into the capacity.
  size_t seen = 0;
};

// A row's new tokens: projected [tokens, (heads + 2 kv_heads) * head_size], queries, keys and values; y [tokens, heads *
// head_size]; attended [tokens], the keys that all heads of a token attend to, or null. A token's result is the same, bit
// for bit, for any number of threads and whichever tokens come with it. Throws std::bad_alloc when scratch memory cannot
// grow. Steady calls do not allocate.
void RunSparkAttention(const SparkAttention& op, const SparkCache& cache, size_t tokens, const float* projected, float* y,
                       int32_t* attended, Scratch& scratch, const Parallel& parallel);

}  // namespace lacuna

#endif  // LACUNA_KERNELS_SPARK_ATTENTION_H_
