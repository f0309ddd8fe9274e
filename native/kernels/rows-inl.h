// The two products of a sparse FFN: rows times vectors (gate, up), and a weighted sum of rows (down).
//
// Each dot product has one vector accumulator that runs along its row, and each entry of a weighted sum adds its rows in
// ascending order. So a result does not depend on which rows or tokens are computed beside it; independent accumulators
// come from several rows and tokens at once.
#if defined(LACUNA_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_ROWS_INL_H_
#undef LACUNA_KERNELS_ROWS_INL_H_
#else
#define LACUNA_KERNELS_ROWS_INL_H_
#endif

#include <cstddef>

#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using FloatVector = hn::Vec<Floats>;

// Tokens that share a load of a row: 4 x 4 accumulators need the 32 registers of AVX-512 and NEON.
constexpr size_t kTokenTile = (HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM) ? 4 : 2;

// out[r * kTokens + t] = dot(rows[r], xs[t]) over n floats. `next` are the rows that are asked for after these, or null:
// they are brought into the cache meanwhile, since rows of chosen neurons are where no hardware would guess them.
template <size_t kRows, size_t kTokens>
HWY_INLINE void DotTile(const float* const* HWY_RESTRICT rows, const float* const* HWY_RESTRICT xs, size_t n,
                        const float* const* HWY_RESTRICT next, float* HWY_RESTRICT out) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  FloatVector sums[kRows][kTokens];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) sums[r][t] = hn::Zero(d);
  }
  const auto add = [&](auto load, size_t i) HWY_ATTR {
    FloatVector x[kTokens];
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) x[t] = load(xs[t] + i);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      const FloatVector row = load(rows[r] + i);
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) sums[r][t] = hn::MulAdd(row, x[t], sums[r][t]);
    }
  };
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    if (next != nullptr) {
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) hwy::Prefetch(next[r] + i);
    }
    add([&](const float* from) HWY_ATTR { return hn::LoadU(d, from); }, i);
  }
  if (i < n) add([&](const float* from) HWY_ATTR { return hn::LoadN(d, from, n - i); }, i);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) out[r * kTokens + t] = hn::ReduceSum(d, sums[r][t]);
  }
}

// y[i] += sum over r of coefficients[r] * rows[r][i], i < n.
template <size_t kRows>
HWY_INLINE void AddRows(const float* const* HWY_RESTRICT rows, const float* HWY_RESTRICT coefficients, size_t n,
                        const float* const* HWY_RESTRICT next, float* HWY_RESTRICT y) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  FloatVector factors[kRows];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) factors[r] = hn::Set(d, coefficients[r]);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    FloatVector sum = hn::LoadU(d, y + i);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      if (next != nullptr) hwy::Prefetch(next[r] + i);
      sum = hn::MulAdd(factors[r], hn::LoadU(d, rows[r] + i), sum);
    }
    hn::StoreU(sum, d, y + i);
  }
  if (i == n) return;
  FloatVector sum = hn::LoadN(d, y + i, n - i);
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) sum = hn::MulAdd(factors[r], hn::LoadN(d, rows[r] + i, n - i), sum);
  hn::StoreN(sum, d, y + i, n - i);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
