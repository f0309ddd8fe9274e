// Count, mean and summed squared distances from the mean of some numbers. Parts can be merged (Chan, Golub, LeVeque
// 1979).
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
  // The population's standard deviation.
  double Deviation() const { return count == 0 ? 0 : std::sqrt(squares / count); }
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_MOMENTS_H_
