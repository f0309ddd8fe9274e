#include "kernels/statistical_top_k.h"

#include <gtest/gtest.h>

#include <cmath>

#include "reference/statistical_top_k.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

// Mean and deviation are sums of `columns` floats, and y is a difference of two numbers as large as the largest entry.
double Tolerance(const std::vector<double>& x) {
  double largest = 0;
  for (double value : x) largest = std::max(largest, std::abs(value));
  return (static_cast<double>(x.size()) + 8) * testing::kEpsilon * largest;
}

void Check(TopKMode mode, float quantile, size_t rows, size_t columns, size_t offset, float mean) {
  testing::Random random(static_cast<uint32_t>(columns * 7 + offset));
  std::vector<float> values = random.Floats(rows * columns);
  for (float& value : values) value += mean;
  testing::Misaligned x(values, offset), y(std::vector<float>(values.size()), offset + 1);
  std::vector<int32_t> kept(rows, -1);
  RunStatisticalTopK({mode, quantile}, rows, columns, x.data(), y.data(), kept.data(), testing::OnThreads(3));
  ASSERT_TRUE(y.Intact());
  for (size_t row = 0; row < rows; ++row) {
    const std::vector<double> wide(values.begin() + static_cast<std::ptrdiff_t>(row * columns),
                                   values.begin() + static_cast<std::ptrdiff_t>((row + 1) * columns));
    const double tolerance = Tolerance(wide);
    const double theta = reference::StatisticalThreshold(wide, quantile);
    const reference::TopK wanted = reference::StatisticalTopK(wide, quantile, mode == TopKMode::kSoft);
    int unclear = 0;
    for (size_t i = 0; i < columns; ++i) {
      const bool near = std::abs(wide[i] - theta) <= tolerance;
      unclear += near;
      // A hard threshold may decide differently about an entry within rounding of it.
      if (near && mode == TopKMode::kHard) continue;
      ASSERT_NEAR(y.data()[row * columns + i], wanted.y[i], tolerance);
    }
    ASSERT_LE(std::abs(kept[row] - wanted.kept), unclear);
  }
}

TEST(StatisticalTopK, AgreesWithPlainLoops) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    for (TopKMode mode : {TopKMode::kSoft, TopKMode::kHard})
      for (float quantile : {-1.0f, 0.0f, 1.405f})
        for (size_t columns = 1; columns <= 67; ++columns) Check(mode, quantile, 2, columns, columns % 16, 0);
  });
}

TEST(StatisticalTopK, KeepsItsPrecisionFarFromZero) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    Check(TopKMode::kSoft, 1.405f, 1, 1000, 3, 100);
  });
}

TEST(StatisticalTopK, WorksInPlaceAndWithoutCounting) {
  std::vector<float> x = {1, 2, 3, 10};
  RunStatisticalTopK({TopKMode::kHard, 1.0f}, 1, 4, x.data(), x.data(), nullptr, OnThisThread());
  EXPECT_EQ(x, (std::vector<float>{0, 0, 0, 10}));
}

TEST(StatisticalTopK, ShowsWhatIsNotANumber) {
  const std::vector<float> x = {1, std::nanf(""), 3, 4};
  std::vector<float> y(4);
  RunStatisticalTopK({TopKMode::kSoft, 1.0f}, 1, 4, x.data(), y.data(), nullptr, OnThisThread());
  EXPECT_TRUE(std::isnan(y[0]));
}

}  // namespace
}  // namespace lacuna
