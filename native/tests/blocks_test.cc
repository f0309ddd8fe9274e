// Products with blocks of codes: every number of blocks up to several vectors of scales, and last blocks that are not
// full.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/blocks_test.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/blocks-inl.h"
#include "kernels/gated_ffn_job.h"
#include "tests/testing.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

// dots[j] for `rows` rows, from floats.
template <Storage kStorage>
void DotOf(const Matrix& matrix, size_t rows, const float* x, size_t n, float* dots) {
  using Rows = BlockRows<kStorage>;
  ScratchLayout sizes(nullptr);
  CodedTokens(kStorage, n, 1, sizes);
  Scratch scratch;
  ScratchLayout places(scratch.AtLeast(sizes.bytes()));
  const CodedTokens tokens(kStorage, n, 1, places);
  Rows::Products::Code(x, n, tokens, 0);
  std::vector<typename Rows::Row> all;
  for (size_t j = 0; j < rows; ++j) all.push_back(Rows::RowOf(matrix, n, j));
  const CodedInput input = tokens.At(0);
  Rows::template Dot<1>(all.data(), rows, &input, n, dots, rows);
}

// y += sum of coefficients[j] * row j, from a column that starts a block on. Sums may be written in whole blocks, and
// no further.
template <Storage kStorage>
void AddOf(const Matrix& matrix, const float* coefficients, size_t width, size_t column, size_t n, float* y) {
  using Rows = BlockRows<kStorage>;
  typename Rows::Row rows[8];
  for (size_t j = 0; j < 8; ++j) rows[j] = Rows::From(Rows::RowOf(matrix, width, j), column);
  std::vector<float> zeros(Blocks(n), -1.0f);
  Rows::StartColumns(n, zeros.data());
  RowsAhead ahead;
  Rows::AddAhead(rows, 8, n, ahead);
  ahead.Spread(Rows::SumSteps(n));
  testing::Misaligned sums(std::vector<float>(PaddedColumns(n)), n % 5);
  Rows::AddEight(rows, coefficients, n, ahead, sums.data(), zeros.data());
  Rows::FinishColumns(sums.data(), n, zeros.data());
  EXPECT_TRUE(sums.Intact());
  for (size_t i = 0; i < n; ++i) y[i] += sums.data()[i];
}

// Calls run with the storage as a constant.
template <class Run>
void WithStorage(Storage storage, Run run) {
  if (storage == Storage::kInt8) run.template operator()<Storage::kInt8>();
  if (storage == Storage::kInt6) run.template operator()<Storage::kInt6>();
  if (storage == Storage::kInt5) run.template operator()<Storage::kInt5>();
  if (storage == Storage::kInt4) run.template operator()<Storage::kInt4>();
}

void Dot(Storage storage, const Matrix& m, size_t rows, const float* x, size_t n, float* dots) {
  WithStorage(storage, [&]<Storage kStorage>() { DotOf<kStorage>(m, rows, x, n, dots); });
}
void Add(Storage storage, const Matrix& m, const float* c, size_t width, size_t column, size_t n, float* y) {
  WithStorage(storage, [&]<Storage kStorage>() { AddOf<kStorage>(m, c, width, column, n, y); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "reference/matrix.h"

namespace lacuna {
namespace {

HWY_EXPORT(Dot);
HWY_EXPORT(Add);

constexpr Storage kStorages[] = {Storage::kInt8, Storage::kInt6, Storage::kInt5, Storage::kInt4};

constexpr size_t kLengths[] = {1, 2, 31, 32, 33, 64, 100, 128, 160, 255, 512, 513, 544, 1000, 1024, 1100};

TEST(Blocks, DotProductsAreThoseOfTheQuantisedInput) {
  testing::ForEachTargetAndVnni([](const std::string& target) {
    for (Storage storage : kStorages) {
      for (size_t n : kLengths) {
        SCOPED_TRACE(target + ", " + std::to_string(n));
        testing::Random random(static_cast<uint32_t>(n));
        constexpr size_t kRows = 7;
        const reference::StoredMatrix stored(storage, random.Floats(kRows * n), n, n % 13);
        const testing::Misaligned x(random.Floats(n), n % 7);
        std::vector<float> dots(kRows);
        HWY_DYNAMIC_DISPATCH(Dot)(storage, stored.matrix(), kRows, x.data(), n, dots.data());
        const std::vector<double> entries = reference::QuantisedEntries(x.data(), n);
        for (size_t j = 0; j < kRows; ++j) {
          const std::vector<double> row = reference::RowOf(storage, stored.matrix(), n, j);
          const double zero = std::ldexp(1.0, static_cast<int>(CodeBits(storage)) - 1);
          double sum = 0, sizes = 0;
          for (size_t i = 0; i < n; ++i) {
            sum += row[i] * entries[i];
            // Codes are multiplied with their zero still included. It is subtracted at the end.
            const double scale = reference::ScaleOf(stored.matrix(), n, j, i / kBlock);
            sizes += (std::abs(row[i]) + 2 * zero * scale) * std::abs(entries[i]);
          }
          // Blocks are exact. They are scaled and added in float.
          ASSERT_NEAR(dots[j], sum, static_cast<double>(Blocks(n) + 8) * testing::kEpsilon * sizes);
        }
      }
    }
  });
}

TEST(Blocks, AnInputIsOffByHalfAStepAtMost) {
  testing::Random random(3);
  const std::vector<float> x = random.Floats(100);
  const std::vector<double> entries = reference::QuantisedEntries(x.data(), x.size());
  for (size_t first = 0; first < x.size(); first += kBlock) {
    const size_t end = std::min(x.size(), first + kBlock);
    double largest = 0;
    for (size_t i = first; i < end; ++i) largest = std::max<double>(largest, std::abs(x[i]));
    for (size_t i = first; i < end; ++i) ASSERT_LE(std::abs(entries[i] - x[i]), largest / 254 * (1 + 1e-5));
  }
}

TEST(Blocks, WeightedSumsOfRows) {
  testing::ForEachTarget([](const std::string& target) {
    for (Storage storage : kStorages) {
      for (size_t n : kLengths) {
        for (size_t column : {size_t{0}, kBlock, 3 * kBlock}) {
          SCOPED_TRACE(target + ", " + std::to_string(n));
          const size_t width = n + column;
          testing::Random random(static_cast<uint32_t>(n));
          const reference::StoredMatrix stored(storage, random.Floats(8 * width), width, n % 13);
          const std::vector<float> coefficients = random.Floats(8), start = random.Floats(n);
          testing::Misaligned y(start, n % 7);
          HWY_DYNAMIC_DISPATCH(Add)(storage, stored.matrix(), coefficients.data(), width, column, n, y.data());
          ASSERT_TRUE(y.Intact());
          const double zero = std::ldexp(1.0, static_cast<int>(CodeBits(storage)) - 1);
          std::vector<std::vector<double>> rows;
          for (size_t j = 0; j < 8; ++j) rows.push_back(reference::RowOf(storage, stored.matrix(), width, j));
          for (size_t i = 0; i < n; ++i) {
            double sum = start[i], sizes = std::abs(sum);
            for (size_t j = 0; j < 8; ++j) {
              const double value = rows[j][column + i];
              const double scale = reference::ScaleOf(stored.matrix(), width, j, (column + i) / kBlock);
              sum += coefficients[j] * value;
              sizes += std::abs(coefficients[j]) * (std::abs(value) + 2 * zero * scale);
            }
            ASSERT_NEAR(y.data()[i], sum, 20 * testing::kEpsilon * sizes);
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace lacuna
#endif  // HWY_ONCE
