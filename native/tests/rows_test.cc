// Dot products and weighted sums of rows: every length up to several vectors, every misalignment of a vector.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/rows_test.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

size_t VectorFloats() { return hn::Lanes(Floats()); }

// 4 rows times as many tokens as share a tile, [tokens, 4].
size_t DotFour(const float* const* rows, const float* const* xs, size_t n, float* out) {
  RowsAhead none;
  FloatRows<float>::DotTile<4, FloatRows<float>::kTokenTile>(rows, xs, n, none, out, 4);
  return FloatRows<float>::kTokenTile;
}

// The same rows are prefetched again.
void DotEight(const float* const* rows, const float* const* xs, size_t n, float* out) {
  RowsAhead ahead;
  FloatRows<float>::AddAhead(rows, 8, n, ahead);
  ahead.Spread(FloatRows<float>::DotSteps(n));
  FloatRows<float>::DotEight(rows, xs[0], n, ahead, out);
}

void DotOne(const float* const* rows, const float* const* xs, size_t n, float* out) {
  RowsAhead none;
  FloatRows<float>::DotTile<1, 1>(rows, xs, n, none, out, 0);
}

void AddEight(const float* const* rows, const float* coefficients, size_t n, float* y) {
  RowsAhead ahead;
  FloatRows<float>::AddAhead(rows, 8, n, ahead);
  ahead.Spread(FloatRows<float>::SumSteps(n));
  FloatRows<float>::AddEight(rows, coefficients, n, ahead, y, nullptr);
}

// One row with its coefficient, and seven times with coefficient 0.
void AddOne(const float* const* row, const float* coefficient, size_t n, float* y) {
  const float* rows[8];
  std::fill_n(rows, 8, *row);
  const float coefficients[8] = {*coefficient};
  RowsAhead none;
  FloatRows<float>::AddEight(rows, coefficients, n, none, y, nullptr);
}

// n is a whole number of vectors.
void WidenHalves(const hwy::float16_t* from, size_t n, float* to) {
  for (size_t i = 0; i < n; i += hn::Lanes(Floats())) hn::StoreU(FloatRows<hwy::float16_t>::Load(from + i), Floats(), to + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "reference/matrix.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

HWY_EXPORT(VectorFloats);
HWY_EXPORT(DotFour);
HWY_EXPORT(DotEight);
HWY_EXPORT(DotOne);
HWY_EXPORT(AddEight);
HWY_EXPORT(AddOne);
HWY_EXPORT(WidenHalves);

using testing::Misaligned;

// Rows and inputs of n floats, each misaligned by another number of floats.
struct Operands {
  Operands(size_t n, size_t offset) : random(static_cast<uint32_t>(1000 * n + offset)) {
    for (size_t i = 0; i < 8; ++i) {
      row_data.emplace_back(random.Floats(n), offset + i);
      x_data.emplace_back(random.Floats(n), offset + 3 * i);
    }
    for (Misaligned& row : row_data) rows.push_back(row.data());
    for (Misaligned& x : x_data) xs.push_back(x.data());
  }
  testing::Random random;
  std::vector<Misaligned> row_data, x_data;
  std::vector<const float*> rows, xs;
};

// In any order, a sum of n products is off by at most n roundings of the sum of sizes (Higham, 3.1).
void ExpectDot(float got, const float* row, const float* x, size_t n) {
  double sum = 0, sizes = 0;
  for (size_t i = 0; i < n; ++i) {
    sum += static_cast<double>(row[i]) * x[i];
    sizes += std::abs(static_cast<double>(row[i]) * x[i]);
  }
  ASSERT_NEAR(got, sum, static_cast<double>(n) * testing::kEpsilon * sizes);
}

template <class Check>
void ForEachShape(Check check) {
  testing::ForEachTarget([&](const std::string& target) {
    SCOPED_TRACE(target);
    const size_t lanes = HWY_DYNAMIC_DISPATCH(VectorFloats)();
    for (size_t n = 0; n <= 3 * lanes + 1; ++n)
      for (size_t offset = 0; offset < lanes; offset += n % 3 == 0 ? 1 : 5) check(n, offset);
  });
}

TEST(Rows, DotProductsOfAllLengths) {
  ForEachShape([](size_t n, size_t offset) {
    Operands operands(n, offset);
    float tile[16], eight[8], one;
    const size_t tokens = HWY_DYNAMIC_DISPATCH(DotFour)(operands.rows.data(), operands.xs.data(), n, tile);
    for (size_t r = 0; r < 4; ++r)
      for (size_t t = 0; t < tokens; ++t) {
        ExpectDot(tile[t * 4 + r], operands.rows[r], operands.xs[t], n);
        // A product has the same bits, whatever is computed beside it.
        HWY_DYNAMIC_DISPATCH(DotOne)(&operands.rows[r], &operands.xs[t], n, &one);
        ASSERT_EQ(one, tile[t * 4 + r]);
      }
    HWY_DYNAMIC_DISPATCH(DotEight)(operands.rows.data(), operands.xs.data(), n, eight);
    for (size_t r = 0; r < 8; ++r) {
      HWY_DYNAMIC_DISPATCH(DotOne)(&operands.rows[r], operands.xs.data(), n, &one);
      ASSERT_EQ(one, eight[r]);
    }
  });
}

TEST(Rows, WeightedSumsOfAllLengths) {
  ForEachShape([](size_t n, size_t offset) {
    Operands operands(n, offset);
    const std::vector<float> coefficients = operands.random.Floats(8);
    const std::vector<float> start = operands.random.Floats(n);
    Misaligned y(start, offset), singly(start, offset);
    HWY_DYNAMIC_DISPATCH(AddEight)(operands.rows.data(), coefficients.data(), n, y.data());
    for (size_t r = 0; r < 8; ++r)
      HWY_DYNAMIC_DISPATCH(AddOne)(&operands.rows[r], &coefficients[r], n, singly.data());
    ASSERT_TRUE(y.Intact());
    for (size_t i = 0; i < n; ++i) {
      double sum = start[i], sizes = std::abs(sum);
      for (size_t r = 0; r < 8; ++r) {
        sum += static_cast<double>(coefficients[r]) * operands.rows[r][i];
        sizes += std::abs(static_cast<double>(coefficients[r]) * operands.rows[r][i]);
      }
      ASSERT_NEAR(y.data()[i], sum, 9 * testing::kEpsilon * sizes);
      ASSERT_EQ(y.data()[i], singly.data()[i]);
    }
  });
}

// Including subnormal numbers, infinity and NaN.
TEST(Rows, EveryHalfIsWidenedExactly) {
  std::vector<uint16_t> halves(65536);
  for (size_t bits = 0; bits < halves.size(); ++bits) halves[bits] = static_cast<uint16_t>(bits);
  const std::vector<double> wanted = reference::RowOf(Storage::kFp16, {halves.data()}, halves.size(), 0);
  testing::ForEachTarget([&](const std::string& target) {
    SCOPED_TRACE(target);
    std::vector<float> got(halves.size());
    HWY_DYNAMIC_DISPATCH(WidenHalves)(reinterpret_cast<const hwy::float16_t*>(halves.data()), halves.size(), got.data());
    for (size_t bits = 0; bits < halves.size(); ++bits) {
      ASSERT_EQ(std::isnan(got[bits]), std::isnan(wanted[bits])) << bits;
      if (std::isnan(wanted[bits])) continue;
      ASSERT_EQ(got[bits], wanted[bits]) << bits;
    }
  });
}

}  // namespace
}  // namespace lacuna
#endif  // HWY_ONCE
