// Spark Transformer's attention as plain loops in double, for testing its kernel.
#ifndef LACUNA_REFERENCE_SPARK_ATTENTION_H_
#define LACUNA_REFERENCE_SPARK_ATTENTION_H_

#include <cstddef>
#include <vector>

#include "kernels/spark_attention.h"

namespace lacuna::reference {

struct SparkAttended {
  // [tokens, heads * head_size].
  std::vector<double> y;
  // [tokens], of all heads together.
  std::vector<int> attended;
  // New keys, turned to their positions, and values: [kv_heads, tokens, head_size].
  std::vector<double> keys;
  std::vector<double> values;
  // The least distance of a score from the threshold of its query, in deviations.
  double margin = 1e30;
};

// `cache` is only read: its past, and seen.
SparkAttended SparkAttention(const lacuna::SparkAttention& op, const SparkCache& cache, size_t tokens, const float* projected);

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_SPARK_ATTENTION_H_
