#include "reference/statistical_top_k.h"

#include <algorithm>
#include <cmath>

namespace lacuna::reference {

double StatisticalThreshold(const std::vector<double>& x, double quantile) {
  double sum = 0;
  for (double value : x) sum += value;
  const double mean = sum / static_cast<double>(x.size());
  double squares = 0;
  for (double value : x) squares += (value - mean) * (value - mean);
  return mean + std::sqrt(squares / static_cast<double>(x.size())) * quantile;
}

TopK StatisticalTopK(const std::vector<double>& x, double quantile, bool soft) {
  const double theta = StatisticalThreshold(x, quantile);
  TopK result;
  for (double value : x) {
    const bool chosen = value >= theta;
    result.kept += chosen;
    result.y.push_back(soft ? std::max(value - theta, 0.0) : chosen ? value : 0.0);
  }
  return result;
}

}  // namespace lacuna::reference
