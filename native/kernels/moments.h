// Count, mean and summed squared distances to the mean of some numbers; parts merge (Chan, Golub, LeVeque 1979).
#ifndef LACUNA_KERNELS_MOMENTS_H_
#define LACUNA_KERNELS_MOMENTS_H_

#include <cmath>
#include <cstddef>

namespace lacuna {

struct Moments {
  double count = 0;
  double mean = 0;
  double squares = 0;

  void Merge(const Moments& other) {
    const double total = count + other.count;
    if (total == 0) return;
    const double step = other.mean - mean;
    mean += step * other.count / total;
    squares += other.squares + step * step * count * other.count / total;
    count = total;
  }
  // Of the population.
  double Deviation() const { return count == 0 ? 0 : std::sqrt(squares / count); }
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_MOMENTS_H_
