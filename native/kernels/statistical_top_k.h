// StatisticalTopK: keeps about k of d entries, those above mean + deviation * quantile.
#ifndef LACUNA_KERNELS_STATISTICAL_TOP_K_H_
#define LACUNA_KERNELS_STATISTICAL_TOP_K_H_

#include <cstddef>
#include <cstdint>

#include "kernels/parallel.h"
#include "kernels/vocabulary.h"

namespace lacuna {

// soft gives max(x - theta, 0), hard x where x >= theta, else 0.
struct StatisticalTopK {
  TopKMode mode = TopKMode::kSoft;
  float quantile = 0;
};

// x, y [rows, columns]; kept [rows], the number of entries that reach theta, or null. y may be x.
void RunStatisticalTopK(const StatisticalTopK& op, size_t rows, size_t columns, const float* x, float* y, int32_t* kept,
                        const Parallel& parallel);

}  // namespace lacuna

#endif  // LACUNA_KERNELS_STATISTICAL_TOP_K_H_
