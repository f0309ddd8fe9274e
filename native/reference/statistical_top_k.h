// StatisticalTopK as plain loops in double, for testing its kernel.
#ifndef LACUNA_REFERENCE_STATISTICAL_TOP_K_H_
#define LACUNA_REFERENCE_STATISTICAL_TOP_K_H_

#include <cstddef>
#include <vector>

namespace lacuna::reference {

// mean(x) + deviation(x) * quantile, with the population's deviation.
double StatisticalThreshold(const std::vector<double>& x, double quantile);

struct TopK {
  std::vector<double> y;
  int kept = 0;
};

TopK StatisticalTopK(const std::vector<double>& x, double quantile, bool soft);

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_STATISTICAL_TOP_K_H_
