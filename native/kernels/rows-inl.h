// Products with rows of floats: dot products with inputs (gate, up), and weighted sums of rows (down).
//
// Each dot product has one vector accumulator that runs along its row. Each entry of a weighted sum adds its rows in
// ascending order. So a result does not depend on which rows or tokens are computed beside it. Several rows and tokens
// at once give independent accumulators.
#if defined(LACUNA_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_ROWS_INL_H_
#undef LACUNA_KERNELS_ROWS_INL_H_
#else
#define LACUNA_KERNELS_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "hwy/highway.h"
#include "kernels/matrix.h"
#include "kernels/rows_ahead-inl.h"
#include "kernels/widened-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// T is float, hwy::bfloat16_t or hwy::float16_t.
template <typename T>
struct FloatRows {
  // Tokens that share a load of a row: 4 x 4 accumulators need the 32 registers of AVX-512 and NEON.
  static constexpr size_t kTokenTile = (HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM) ? 4 : 2;
  // Rows for one token: enough accumulators to hide the latency of an addition.
  static constexpr size_t kRowGroup = 8;
  static constexpr bool kSumsTiles = true;

  using Down = FloatRows;
  using Row = const T*;
  using Input = const float*;

  static Row RowOf(const Matrix& matrix, size_t width, size_t j) {
    return static_cast<const T*>(matrix.data) + j * width;
  }
  static Row From(Row row, size_t column) { return row + column; }

  static HWY_INLINE FloatVector Load(const T* from) {
    return Widened<T>(hn::LoadU(hn::Rebind<T, Floats>(), from));
  }
  static HWY_INLINE FloatVector LoadFirst(const T* from, size_t count) {
    return Widened<T>(hn::LoadN(hn::Rebind<T, Floats>(), from, count));
  }

  // Rows that are read later.
  static HWY_INLINE void AddAhead(const Row* rows, size_t count, size_t n, RowsAhead& ahead) {
    ahead.Add(PartAhead(count, n * sizeof(T), [&](size_t r) { return rows[r]; }));
  }

  // out[t * stride + r] = dot(rows[r], xs[t]) over n entries.
  template <size_t kRows, size_t kTokens>
  static HWY_INLINE void DotTile(const Row* HWY_RESTRICT rows, const Input* HWY_RESTRICT xs, size_t n, RowsAhead& ahead,
                                 float* HWY_RESTRICT out, size_t stride) {
    const Floats d;
    const size_t lanes = hn::Lanes(d);
    FloatVector sums[kRows][kTokens];
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) sums[r][t] = hn::Zero(d);
    }
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      ahead.Step();
      FloatVector x[kTokens];
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) x[t] = hn::LoadU(d, xs[t] + i);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) {
        const FloatVector row = Load(rows[r] + i);
#pragma GCC unroll 4
        for (size_t t = 0; t < kTokens; ++t) sums[r][t] = hn::MulAdd(row, x[t], sums[r][t]);
      }
    }
    if (i < n) {
      for (size_t r = 0; r < kRows; ++r) {
        const FloatVector row = LoadFirst(rows[r] + i, n - i);
        for (size_t t = 0; t < kTokens; ++t)
          sums[r][t] = hn::MulAdd(row, hn::LoadN(d, xs[t] + i, n - i), sums[r][t]);
      }
    }
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) out[t * stride + r] = hn::ReduceSum(d, sums[r][t]);
    }
  }

  // dots[t * stride + i] = dot(rows[i], xs[t]) for i < count. Not inlined, as in blocks-inl.h.
  template <size_t kTokens>
  static HWY_NOINLINE void Dot(const Row* rows, size_t count, const Input* xs, size_t n, float* dots, size_t stride) {
    constexpr size_t kGroup = kTokens == 1 ? kRowGroup : 4;
    size_t i = 0;
    for (; i + kGroup <= count; i += kGroup) {
      RowsAhead ahead;
      AddAhead(rows + i + kGroup, std::min(kGroup, count - i - kGroup), n, ahead);
      ahead.Spread(Steps(n));
      DotTile<kGroup, kTokens>(rows + i, xs, n, ahead, dots + i, stride);
    }
    RowsAhead none;
    if (kGroup == 8 && i + 4 <= count) {
      DotTile<4, kTokens>(rows + i, xs, n, none, dots + i, stride);
      i += 4;
    }
    for (; i < count; ++i) DotTile<1, kTokens>(rows + i, xs, n, none, dots + i, stride);
  }

  // Steps of DotEight and of AddEight.
  static size_t DotSteps(size_t n) { return Steps(n); }
  static size_t SumSteps(size_t n) { return Steps(n); }

  // dots[r] = dot(rows[r], x) for eight rows.
  static HWY_INLINE void DotEight(const Row* rows, const Input& x, size_t n, RowsAhead& ahead, float* dots) {
    DotTile<8, 1>(rows, &x, n, ahead, dots, 0);
  }

  // y[i] += sum over r of coefficients[r] * rows[r][i] for eight rows, i < n. The last argument is for storages whose
  // zero code is not 0.
  static HWY_INLINE void AddEight(const Row* HWY_RESTRICT rows, const float* HWY_RESTRICT coefficients, size_t n,
                                  RowsAhead& ahead, float* HWY_RESTRICT y, float*) {
    const Floats d;
    const size_t lanes = hn::Lanes(d);
    FloatVector factors[8];
#pragma GCC unroll 8
    for (size_t r = 0; r < 8; ++r) factors[r] = hn::Set(d, coefficients[r]);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      ahead.Step();
      FloatVector sum = hn::LoadU(d, y + i);
#pragma GCC unroll 8
      for (size_t r = 0; r < 8; ++r) sum = hn::MulAdd(factors[r], Load(rows[r] + i), sum);
      hn::StoreU(sum, d, y + i);
    }
    if (i == n) return;
    FloatVector sum = hn::LoadN(d, y + i, n - i);
    for (size_t r = 0; r < 8; ++r) sum = hn::MulAdd(factors[r], LoadFirst(rows[r] + i, n - i), sum);
    hn::StoreN(sum, d, y + i, n - i);
  }

  static void StartColumns(size_t, float*) {}
  static void FinishColumns(float*, size_t, const float*) {}

  // ys[t][i] += sum over r of coefficients[t][list[r]] * rows[r][i], i < n. Vectors of a tile of tokens stay in
  // registers while all rows pass.
  static HWY_INLINE void AddRowsToTile(const Row* rows, const uint8_t* list, size_t count,
                                       const float* const* coefficients, size_t n, float* const* ys) {
    const size_t lanes = hn::Lanes(Floats());
    size_t i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes) AddToTile<4>(rows, list, count, coefficients, i, 0, ys);
    for (; i + lanes <= n; i += lanes) AddToTile<1>(rows, list, count, coefficients, i, 0, ys);
    if (i < n) AddToTile<1>(rows, list, count, coefficients, i, n - i, ys);
  }

 private:
  // Vectors of a row, at least one.
  static size_t Steps(size_t n) { return std::max<size_t>(1, n / hn::Lanes(Floats())); }

  // `last`: entries of a vector that is not full, or 0.
  template <size_t kVectors>
  static HWY_INLINE void AddToTile(const Row* rows, const uint8_t* list, size_t count, const float* const* coefficients,
                                   size_t start, size_t last, float* const* ys) {
    const Floats d;
    const size_t lanes = hn::Lanes(d);
    FloatVector sums[kTokenTile][kVectors];
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokenTile; ++t) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        const float* from = ys[t] + start + v * lanes;
        sums[t][v] = last == 0 ? hn::LoadU(d, from) : hn::LoadN(d, from, last);
      }
    }
    for (size_t i = 0; i < count; ++i) {
      FloatVector part[kVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        const Row from = rows[i] + start + v * lanes;
        part[v] = last == 0 ? Load(from) : LoadFirst(from, last);
      }
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokenTile; ++t) {
        const FloatVector factor = hn::Set(d, coefficients[t][list[i]]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) sums[t][v] = hn::MulAdd(factor, part[v], sums[t][v]);
      }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokenTile; ++t) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        float* to = ys[t] + start + v * lanes;
        if (last == 0) {
          hn::StoreU(sums[t][v], d, to);
        } else {
          hn::StoreN(sums[t][v], d, to, last);
        }
      }
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
