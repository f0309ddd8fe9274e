// Mean and deviation of floats, in one pass and mergeable: chunks are summed where they are computed, then joined in
// order.
#if defined(LACUNA_KERNELS_STATISTICS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_STATISTICS_INL_H_
#undef LACUNA_KERNELS_STATISTICS_INL_H_
#else
#define LACUNA_KERNELS_STATISTICS_INL_H_
#endif

#include <cmath>
#include <cstddef>

#include "hwy/highway.h"
#include "kernels/moments.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Adds term(values i…) for all i < n, where term maps a vector. Lanes past n are zeroed after `term`.
template <class Term>
HWY_INLINE float SumOf(const float* HWY_RESTRICT x, size_t n, Term term) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  auto even = hn::Zero(d);
  auto odd = hn::Zero(d);
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    even = hn::Add(even, term(hn::LoadU(d, x + i), i));
    odd = hn::Add(odd, term(hn::LoadU(d, x + i + lanes), i + lanes));
  }
  if (i + lanes <= n) {
    even = hn::Add(even, term(hn::LoadU(d, x + i), i));
    i += lanes;
  }
  if (i < n) odd = hn::Add(odd, hn::IfThenElseZero(hn::FirstN(d, n - i), term(hn::LoadN(d, x + i, n - i), i)));
  return hn::ReduceSum(d, hn::Add(even, odd));
}

// Squares are of distances to the mean, so a mean far from zero costs no precision.
HWY_INLINE Moments MomentsOf(const float* HWY_RESTRICT x, size_t n) {
  const hn::ScalableTag<float> d;
  const float mean = SumOf(x, n, [](auto v, size_t) HWY_ATTR { return v; }) / static_cast<float>(n);
  const auto centre = hn::Set(d, mean);
  const float squares = SumOf(x, n, [centre](auto v, size_t) HWY_ATTR {
    const auto distance = hn::Sub(v, centre);
    return hn::Mul(distance, distance);
  });
  return {static_cast<double>(n), mean, squares};
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
