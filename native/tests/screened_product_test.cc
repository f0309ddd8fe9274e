// The screened product against all products. The largest have the same bits, whatever the weights, and the others are
// unchanged or -infinity.
#include "kernels/screened_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "reference/matrix.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A head of random codes and scales, and tokens that it reads.
struct Head {
  Head(size_t rows_, size_t hidden_, size_t tokens_)
      : rows(rows_), hidden(hidden_), tokens(tokens_), random(static_cast<uint32_t>(rows + hidden)), codes(rows * Blocks(hidden) * kBlock),
        scales(reference::Fp16Of(random.Floats(rows * Blocks(hidden), 0.01f))), norm(hidden, 1.0f), x(random.Floats(tokens * hidden)) {
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random.Below(256));
  }

  // Zero points around the middle. Few of them are whole steps of upper halves.
  void StoreZeroPoints() {
    zero_points.resize(rows * Blocks(hidden));
    for (uint8_t& zero : zero_points) zero = static_cast<uint8_t>(96 + random.Below(64));
  }

  RmsNorm Norm() const { return {norm.data(), 1e-5f}; }
  BlockMatrix Weight() const { return {{codes.data(), scales.data(), zero_points.empty() ? nullptr : zero_points.data()}, rows, hidden}; }
  NormProduct Part() const { return {Storage::kInt8, Norm(), Weight(), softcap}; }
  Stream Tokens() const { return {tokens, x.data(), nullptr, nullptr}; }

  void CopyRow(size_t from, size_t to) {
    const size_t blocks = Blocks(hidden);
    std::copy_n(codes.begin() + static_cast<std::ptrdiff_t>(from * blocks * kBlock), blocks * kBlock,
                codes.begin() + static_cast<std::ptrdiff_t>(to * blocks * kBlock));
    std::copy_n(scales.begin() + static_cast<std::ptrdiff_t>(from * blocks), blocks,
                scales.begin() + static_cast<std::ptrdiff_t>(to * blocks));
  }

  std::vector<float> All() const {
    std::vector<float> y(tokens * rows);
    Scratch scratch;
    RunNormProduct(Part(), Tokens(), y.data(), scratch, OnThisThread());
    return y;
  }
  std::vector<float> Screened(size_t largest, const Parallel& parallel) const {
    const Screen screen(Weight(), parallel);
    testing::Misaligned y(std::vector<float>(tokens * rows), rows % 7);
    Scratch scratch;
    RunScreenedProduct(Part(), screen, largest, Tokens(), y.data(), scratch, parallel);
    EXPECT_TRUE(y.Intact());
    return {y.data(), y.data() + y.size()};
  }

  size_t rows, hidden, tokens;
  testing::Random random;
  std::vector<uint8_t> codes, zero_points;
  std::vector<uint16_t> scales;
  std::vector<float> norm, x;
  float softcap = 0;
};

// How many of a token's products were left out.
size_t ExpectLargest(const float* all, const float* screened, size_t rows, size_t largest) {
  std::vector<float> sorted(all, all + rows);
  std::sort(sorted.begin(), sorted.end(), std::greater<float>());
  const float least = sorted[largest - 1];
  size_t left_out = 0;
  for (size_t row = 0; row < rows; ++row) {
    if (screened[row] == all[row]) continue;
    EXPECT_EQ(screened[row], -kInfinity);
    EXPECT_LT(all[row], least) << row;
    ++left_out;
  }
  return left_out;
}

bool AreSame(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](float one, float other) { return one == other || (std::isnan(one) && std::isnan(other)); });
}

TEST(ScreenedProduct, TheLargestAreThoseOfAllProducts) {
  testing::ForEachTarget([](const std::string& target) {
    for (size_t hidden : {16, 33, 128, 500, 576, 1100}) {
      for (size_t largest : {1, 2, 5, 9}) {
        Head head(256 * largest + 13 * (hidden % 7), hidden, std::vector<size_t>{1, 3, 4, 66}[(hidden + largest) % 4]);
        if (largest % 2 == 0 || hidden % 3 == 0) head.StoreZeroPoints();
        SCOPED_TRACE(target + ", " + std::to_string(hidden) + ", " + std::to_string(largest));
        const std::vector<float> all = head.All();
        const std::vector<float> screened = head.Screened(largest, OnThisThread());
        EXPECT_EQ(screened, head.Screened(largest, testing::OnThreads(3)));
        for (size_t at = 0; at < all.size(); at += head.rows) ExpectLargest(&all[at], &screened[at], head.rows, largest);
      }
    }
  });
}

void ExpectMostLeftOut(const Head& head) {
  const std::vector<float> all = head.All();
  for (const auto& [largest, share] : {std::pair<size_t, double>{1, 0.9}, {19, 0.5}}) {
    const std::vector<float> screened = head.Screened(largest, testing::OnThreads(2));
    for (size_t at = 0; at < all.size(); at += head.rows)
      EXPECT_GT(ExpectLargest(&all[at], &screened[at], head.rows, largest), share * static_cast<double>(head.rows));
  }
}

TEST(ScreenedProduct, MostRowsOfALargeHeadAreLeftOut) {
  Head head(5000, 576, 4);
  ExpectMostLeftOut(head);
  head.StoreZeroPoints();
  ExpectMostLeftOut(head);
}

TEST(ScreenedProduct, TheLargestAreSoftlyCapped) {
  testing::ForEachTarget([](const std::string&) {
    Head head(5000, 128, 3);
    const std::vector<float> plain = head.All();
    const float most = *std::max_element(plain.begin(), plain.end());
    // At the second, the largest are so far beyond the cap that many are the same.
    for (float part : {0.5f, 20.0f}) {
      head.softcap = most / part;
      const std::vector<float> all = head.All(), screened = head.Screened(3, testing::OnThreads(2));
      for (size_t at = 0; at < all.size(); at += head.rows) {
        const size_t left_out = ExpectLargest(&all[at], &screened[at], head.rows, 3);
        EXPECT_EQ(left_out > 0, part < 1);
      }
    }
  });
}

TEST(ScreenedProduct, RowsThatEqualTheLeastWantedAreThere) {
  Head head(3000, 256, 1);
  const std::vector<float> before = head.All();
  const auto top = static_cast<size_t>(std::max_element(before.begin(), before.end()) - before.begin());
  const std::vector<size_t> copies = {3, 700, 701, 2999};
  for (size_t row : copies) head.CopyRow(top, row);
  const std::vector<float> all = head.All(), screened = head.Screened(2, testing::OnThreads(3));
  ExpectLargest(all.data(), screened.data(), head.rows, 2);
  for (size_t row : copies) EXPECT_EQ(screened[row], before[top]);
}

TEST(ScreenedProduct, RowsOfZerosAreNumbers) {
  Head head(800, 64, 2);
  std::fill(head.codes.begin(), head.codes.end(), 128);
  EXPECT_EQ(head.Screened(3, OnThisThread()), head.All());
  std::fill(head.x.begin(), head.x.end(), 0.0f);
  EXPECT_EQ(head.Screened(3, OnThisThread()), head.All());
}

TEST(ScreenedProduct, WhatIsNotANumberShows) {
  for (float entry : {std::numeric_limits<float>::quiet_NaN(), kInfinity}) {
    Head head(300, 96, 1);
    head.x[40] = entry;
    EXPECT_TRUE(AreSame(head.Screened(1, OnThisThread()), head.All()));
  }
  for (float scale : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity}) {
    Head head(300, 96, 1);
    head.scales[77 * 3 + 1] = reference::Fp16Of({scale})[0];
    EXPECT_TRUE(AreSame(head.Screened(1, OnThisThread()), head.All())) << scale;
  }
}

// The rest of the weights has the signs of the input, so that errors add up instead of cancelling.
TEST(ScreenedProduct, WeightsThatMarginsDoNotHoldForAreSeen) {
  Head head(2000, 1024, 1);
  for (float& entry : head.x) entry = std::copysign(1.0f, entry);
  std::fill(head.scales.begin(), head.scales.end(), reference::Fp16Of({0.01f})[0]);
  for (size_t i = 0; i < head.codes.size(); ++i) {
    const int left = i / head.hidden % 2 == 0 ? 0 : 7;
    const int upper = 16 * static_cast<int>(1 + head.random.Below(15));
    head.codes[i] = static_cast<uint8_t>(head.x[i % head.hidden] > 0 ? upper + left : upper - left);
  }
  EXPECT_EQ(head.Screened(1, testing::OnThreads(2)), head.All());
}

}  // namespace
}  // namespace lacuna
