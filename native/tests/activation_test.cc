// Activations against double, over the range of a gate's floats and far beyond it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/activation_test.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/activation-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

void ActivateAll(Activation activation, size_t n, const float* x, float* y) {
  const hn::ScalableTag<float> d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const size_t count = HWY_MIN(hn::Lanes(d), n - i);
    hn::StoreN(Activate(d, activation, hn::LoadN(d, x + i, count)), d, y + i, count);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "reference/gated_ffn.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

HWY_EXPORT(ActivateAll);

constexpr Activation kAll[] = {Activation::kSilu, Activation::kGeluTanh, Activation::kGelu, Activation::kRelu,
                               Activation::kDrelu};

std::vector<float> Arguments() {
  std::vector<float> x = {0, -0.0f, 1e-30f, 88, -88, 105, -105, 1e4f, -1e4f, 3e37f, -3e37f};
  for (int i = -4000; i <= 4000; ++i) x.push_back(static_cast<float>(i) / 200);
  return x;
}

// The activation is x times a number from 0 to 1 (relu is exact). For gelu, that number is off by 1.5e-7 at most,
// because of its polynomial. An exponential is exact to a few units in the last place, and so is its argument, which
// scales the error up.
double Tolerance(Activation activation, double x) {
  const double polynomial = activation == Activation::kGelu ? 0.75e-7 : 0;
  return std::abs(x) * (polynomial + 8 * testing::kEpsilon) + 1e-37;
}

TEST(Activation, AgreesWithDouble) {
  const std::vector<float> x = Arguments();
  testing::ForEachTarget([&](const std::string& target) {
    for (Activation activation : kAll) {
      std::vector<float> y(x.size());
      HWY_DYNAMIC_DISPATCH(ActivateAll)(activation, x.size(), x.data(), y.data());
      for (size_t i = 0; i < x.size(); ++i)
        ASSERT_NEAR(y[i], reference::Activate(activation, x[i]), Tolerance(activation, x[i]))
            << target << ", activation " << static_cast<int>(activation) << " of " << x[i];
    }
  });
}

// The sparse FFN leaves out what a zero gate would add: exactly nothing.
TEST(Activation, IsZeroAtZero) {
  testing::ForEachTarget([](const std::string& target) {
    for (Activation activation : kAll) {
      const float zero = 0;
      float y = 1;
      HWY_DYNAMIC_DISPATCH(ActivateAll)(activation, 1, &zero, &y);
      ASSERT_EQ(y, 0) << target;
    }
  });
}

TEST(Activation, KeepsWhatIsNotANumber) {
  testing::ForEachTarget([](const std::string& target) {
    for (Activation activation : kAll) {
      const float x = std::nanf("");
      float y = 0;
      HWY_DYNAMIC_DISPATCH(ActivateAll)(activation, 1, &x, &y);
      ASSERT_TRUE(std::isnan(y)) << target;
    }
  });
}

}  // namespace
}  // namespace lacuna
#endif  // HWY_ONCE
