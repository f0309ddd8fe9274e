// How far a row's product by upper halves is off: by the sum over columns i of d_i x_i, where d_i = s r is what rounding left of
// a weight and x the input that both products read. Of a trained model's rows the d_i are as good as independent of the x and
// of each other, with mean 0 and, codes being spread evenly within a step, evenly distributed; sums of such terms have tails no
// heavier than a normal distribution's of the same variance (an even distribution is strictly sub-Gaussian, which is more than
// Hoeffding's inequality makes of its bounds). The variance is |d|^2 |x|^2 / n over n columns, and so
//
//     P(error > c |d| |x| / sqrt(n)) <= exp(-c^2 / 2).
//
// In SmolLM2-135M and Gemma-3-270M errors have 1.1 times that deviation, as blocks with large scales meet large inputs, and the
// largest of 20 million is 5.9 deviations. c = 8 fails once in 10^11, and it matters only where the row that fails is one of
// those wanted. No error is larger than |d| |x| (Cauchy and Schwarz), which is the margin of rows so short that this is less.
//
// That weights are not such is seen: the products that are computed say how far off theirs were, and where one is by more than
// three quarters of its margin, which one in 10^7 is, all are computed.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/screened_product.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/block_products-inl.h"
#include "kernels/norm-inl.h"
#include "kernels/part-inl.h"
#include "kernels/rows_ahead-inl.h"
#include "kernels/screened_product.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A row by its product; of equal ones the first comes first, so that which are the largest does not depend on who looks.
struct Ranked {
  float value;
  uint32_t row;
};

constexpr auto kIsAbove = [](const Ranked& a, const Ranked& b) {
  return a.value > b.value || (a.value == b.value && a.row < b.row);
};

constexpr float kStep = 16;
constexpr float kDeviations = 8;
constexpr float kDoubted = 0.75f;
// Of a soft cap c: at 5 c, products that differ by a thousandth of c are still capped to different floats.
constexpr float kMostBent = 5;
// Beside as many rows as are wanted, so that margins are seen at work and a row that only looks large sets no low floor.
constexpr size_t kMoreLooked = 16;
// Of |row| |x|: what two float sums over a row may differ by from rounding alone, 2^-24 for each of some hundred terms.
constexpr float kRounding = 1.0f / (1 << 13);

// Rows from `first` to `end`: upper halves of codes, and margins.
void ScreenRows(const BlockMatrix& weight, size_t first, size_t end, uint8_t* upper, float* margins) {
  const size_t blocks = Blocks(weight.columns);
  const float factor = std::min(1.0f, kDeviations / std::sqrt(static_cast<float>(weight.columns)));
  for (size_t row = first; row < end; ++row) {
    float rest = 0, all = 0;
    for (size_t block = row * blocks; block < (row + 1) * blocks; ++block) {
      const uint8_t* HWY_RESTRICT codes = static_cast<const uint8_t*>(weight.stored.data) + block * kBlock;
      uint8_t* HWY_RESTRICT to = upper + block * kBlock / 2;
      const int below = weight.stored.zero_points == nullptr ? 0 : 128 - weight.stored.zero_points[block];
      int rests = 0, wholes = 0;
      const auto nearest = [&](int code) HWY_ATTR {
        const int half = std::min((code + 8) >> 4, 15);
        const int left = code - 16 * half;
        rests += left * left;
        const int whole = std::abs(code - 128) + std::abs(below);
        wholes += whole * whole;
        return half;
      };
      for (size_t i = 0; i < kBlock / 2; ++i) to[i] = static_cast<uint8_t>(nearest(codes[2 * i]) | nearest(codes[2 * i + 1]) << 4);
      const float scale = hwy::F32FromF16(hwy::BitCastScalar<hwy::float16_t>(weight.stored.scales[block]));
      const float squared = scale * scale;
      rest += squared * static_cast<float>(rests);
      all += squared * static_cast<float>(wholes);
    }
    margins[row] = factor * std::sqrt(rest) + kRounding * std::sqrt(all);
  }
}

class ScreenedProductJob : public PhasedJob {
 public:
  using Near = BlockProducts<Storage::kInt4>;
  using Exact = BlockProducts<Storage::kInt8>;

  ScreenedProductJob(const NormProduct& part, const Screen& screen, size_t largest, const Stream& stream, float* y,
                     Scratch& scratch, size_t most_workers)
      : PhasedJob(stream.tokens, part.softcap == 0 ? kCap : kCap + 1, stream.tokens * screen.weight().rows * screen.weight().columns, most_workers),
        part_(part),
        screen_(screen),
        largest_(largest),
        groups_(DivideUp(weight().rows, kGroup)),
        looked_(std::min(largest + kMoreLooked, groups_)),
        stream_(stream),
        y_(y),
        rows_(RowsAnItem(weight().rows, kGroup)),
        row_items_(DivideUp(weight().rows, rows_)),
        arrays_(Place<Arrays>(scratch, *this)) {
    Number([this](size_t phase, const TokenBlock& block) {
      if (phase == kPrepare) return DivideUp(block.count, kTokens);
      return phase == kBound ? block.count : row_items_;
    });
  }

  void Item(size_t phase, const TokenBlock& block, size_t item, size_t) {
    switch (phase) {
      case kPrepare:
        return ForTokens(block, item, [this](size_t token, size_t t) { Prepare(token, t); });
      case kScreen:
        return ScreenItem(block, item);
      case kBound:
        return Bound(item);
      case kRescore:
        for (size_t t = 0; t < block.count; ++t) Rescore(block, t, item);
        return;
      case kRepair:
        for (size_t t = 0; t < block.count; ++t) Repair(block, t, item);
        return;
      case kCap:
        for (size_t t = 0; t < block.count; ++t) Cap(block, t, item);
        return;
    }
  }

  // Products that were computed, of all tokens.
  size_t computed() const { return computed_.load(std::memory_order_relaxed); }

  void Fetch(size_t phase, size_t item) const {
    if (phase == kScreen) Near::Fetch(screen_.upper(), item * rows_);
  }

 private:
  enum Phase { kPrepare, kScreen, kBound, kRescore, kRepair, kCap };
  // Rows of a group; items are whole groups.
  static constexpr size_t kGroup = kScreenedGroup;
  // Rows that are multiplied side by side.
  static constexpr size_t kTile = Exact::kRowTile;

  using D = hn::ScalableTag<float>;

  struct Arrays {
    Arrays(const ScreenedProductJob& job, ScratchLayout& layout)
        : normed(layout.Array<float>(job.most_tokens(), job.weight().columns)),
          lengths(layout.Array<float>(job.most_tokens())),
          floors(layout.Array<float>(job.most_tokens())),
          doubted(layout.Array<bool>(job.most_tokens(), job.row_items_)),
          best(layout.Array<Ranked>(job.most_tokens(), job.groups_)),
          near(Storage::kInt4, job.weight().columns, job.most_tokens(), layout),
          exact(Storage::kInt8, job.weight().columns, job.most_tokens(), layout) {}

    // [tokens of a block, hidden]
    float* normed;
    // Of inputs; and what the least wanted product is at least.
    float* lengths;
    float* floors;
    // [tokens of a block, items]: whether a row is further off than margins are good for.
    bool* doubted;
    // [tokens of a block, groups]
    Ranked* best;
    CodedTokens near;
    CodedTokens exact;
  };

  const BlockMatrix& weight() const { return screen_.weight(); }

  TokenBlock RowsOf(size_t item) const {
    const size_t first = item * rows_;
    return {first, std::min(rows_, weight().rows - first)};
  }
  float* YOf(const TokenBlock& block, size_t t) const { return y_ + (block.first + t) * weight().rows; }

  void Prepare(size_t token, size_t t) {
    const size_t hidden = weight().columns;
    float* normed = arrays_.normed + t * hidden;
    NormaliseStream(part_.norm, stream_, token, hidden, normed);
    arrays_.lengths[t] = std::sqrt(SumOf(normed, hidden, [](auto v, size_t) HWY_ATTR { return hn::Mul(v, v); }));
    Near::Code(normed, hidden, arrays_.near, t);
    Exact::Code(normed, hidden, arrays_.exact, t);
  }

  // Into y, products by upper halves; and of each group of rows the largest.
  void ScreenItem(const TokenBlock& block, size_t item) {
    const auto [first, count] = RowsOf(item);
    // Zeros are those of the weight, whole.
    Near::Multiply<Near::ZerosIn<Storage::kInt8>>(screen_.upper(), first, count, arrays_.near, 0, block.count,
                                                  YOf(block, 0) + first, weight().rows);
    for (size_t t = 0; t < block.count; ++t)
      for (size_t row = first; row < first + count; row += kGroup)
        arrays_.best[t * groups_ + row / kGroup] = LargestOf(YOf(block, t), row, std::min(row + kGroup, first + count));
  }

  // The largest of the products with rows from `first` to `end`; what is not a number is none of them.
  static HWY_INLINE Ranked LargestOf(const float* y, size_t first, size_t end) {
    const D d;
    const size_t lanes = hn::Lanes(d);
    const auto least = hn::Set(d, -std::numeric_limits<float>::infinity());
    auto most = least;
    for (size_t row = first; row < end; row += lanes) {
      const auto values = hn::LoadNOr(least, d, y + row, std::min(lanes, end - row));
      most = hn::IfThenElse(hn::Gt(values, most), values, most);
    }
    const float value = hn::ReduceMax(d, most);
    size_t row = first;
    while (row + 1 < end && y[row] != value) ++row;
    return {value, static_cast<uint32_t>(row)};
  }

  // A token's floor: as many rows as are wanted have products at least as large. There is none, and all rows are computed,
  // where they are not numbers, margins do not hold, or a soft cap bends so much that products far apart may become the same.
  void Bound(size_t t) {
    Ranked* best = arrays_.best + t * groups_;
    std::nth_element(best, best + (looked_ - 1), best + groups_, kIsAbove);
    for (size_t i = 0; i < looked_; ++i) FetchRow(best[i].row);
    bool is_trusted = true;
    for (Ranked* one = best; one < best + looked_; ++one)
      is_trusted &= Compute<1>(t, &one->row, [one](size_t) -> float& { return one->value; });
    if (is_trusted) std::nth_element(best, best + (largest_ - 1), best + looked_, kIsAbove);
    const float floor = best[largest_ - 1].value;
    const bool is_bent = part_.softcap != 0 && floor > kMostBent * part_.softcap;
    arrays_.floors[t] = is_trusted && !is_bent ? floor : -std::numeric_limits<float>::infinity();
  }

  // Asks for a row, to be multiplied soon.
  void FetchRow(size_t row) const {
    const Exact::Row stored = Exact::RowOf(weight().stored, weight().columns, row);
    FetchBytes(stored.codes, Blocks(weight().columns) * kBlock);
    FetchBytes(stored.scales, ScaleBytes(weight().columns));
    if (weight().stored.zero_points == nullptr) return;
    const size_t bytes = ZeroPointBytes(Storage::kInt8, weight().columns);
    FetchBytes(weight().stored.zero_points + row * bytes, bytes);
  }

  // The true products with some rows that lie anywhere in place of those by upper halves; whether those were as near as margins
  // are good for. product(row) is where a row's is.
  template <size_t kRows, class Products>
  HWY_INLINE bool Compute(size_t t, const uint32_t* rows, Products product) const {
    const CodedInput x = arrays_.exact.At(t);
    Exact::Row from[kRows];
    for (size_t r = 0; r < kRows; ++r) from[r] = Exact::RowOf(weight().stored, weight().columns, rows[r]);
    float products[kRows];
    const auto multiply = [&]<class Zeros>(Zeros zeros) HWY_ATTR {
      Exact::Tile<kRows, 1>(from, Blocks(weight().columns), &x, zeros, Exact::NothingAhead(), products, 1);
    };
    if (weight().stored.zero_points == nullptr) {
      multiply(Exact::MiddleZeros());
    } else {
      multiply(Exact::ZerosOf<Exact::StoredZeros, kRows>(weight(), [rows](size_t r) { return rows[r]; }));
    }
    bool are_near = true;
    for (size_t r = 0; r < kRows; ++r) are_near &= IsNear(t, rows[r], std::exchange(product(rows[r]), products[r]), products[r]);
    return are_near;
  }

  // Whether a true product is as near to what it looked like as margins are good for.
  bool IsNear(size_t t, size_t row, float looked, float product) const {
    return std::abs(product - kStep * looked) <= kDoubted * screen_.margins()[row] * arrays_.lengths[t];
  }

  // Rows of an item that may reach the floor get their products, others -infinity.
  void Rescore(const TokenBlock& block, size_t t, size_t item) {
    const auto [first, count] = RowsOf(item);
    float* y = YOf(block, t);
    // They are far from each other: as many as are multiplied side by side are on their way meanwhile.
    uint32_t rows[2 * kTile];
    size_t asked = 0, computed = 0;
    bool are_near = true;
    const auto compute = [&]<size_t kRows>(std::integral_constant<size_t, kRows>) HWY_ATTR {
      are_near &= Compute<kRows>(t, rows, [y](size_t row) -> float& { return y[row]; });
      std::copy(rows + kRows, rows + asked, rows);
      asked -= kRows;
      computed += kRows;
    };
    ForReaching(t, y, first, first + count, [&](size_t row) HWY_ATTR {
      FetchRow(row);
      rows[asked++] = static_cast<uint32_t>(row);
      if (asked == 2 * kTile) compute(std::integral_constant<size_t, kTile>());
    });
    while (asked > 0) compute(std::integral_constant<size_t, 1>());
    arrays_.doubted[t * row_items_ + item] = !are_near;
    computed_.fetch_add(computed, std::memory_order_relaxed);
  }

  // Calls run(row) for rows from `first` to `end` that may reach a token's floor; the products of others become -infinity.
  template <class Run>
  HWY_INLINE void ForReaching(size_t t, float* y, size_t first, size_t end, Run run) const {
    const D d;
    const size_t lanes = hn::Lanes(d);
    const auto length = hn::Set(d, arrays_.lengths[t]);
    const auto floor = hn::Set(d, arrays_.floors[t]);
    for (size_t row = first; row < end; row += lanes) {
      const size_t among = std::min(lanes, end - row);
      const auto near = hn::LoadN(d, y + row, among);
      const auto margin = hn::Mul(hn::LoadN(d, screen_.margins() + row, among), length);
      const auto is_out = hn::Lt(hn::MulAdd(near, hn::Set(d, kStep), margin), floor);
      hn::StoreN(hn::IfThenElse(is_out, hn::Neg(hn::Inf(d)), near), d, y + row, among);
      if (hn::AllTrue(d, is_out)) continue;
      uint8_t out[8] = {};
      hn::StoreMaskBits(d, is_out, out);
      for (size_t i = 0; i < among; ++i)
        if ((out[i / 8] >> (i % 8) & 1) == 0) run(row + i);
    }
  }

  void Repair(const TokenBlock& block, size_t t, size_t item) {
    const bool* doubted = arrays_.doubted + t * row_items_;
    if (std::none_of(doubted, doubted + row_items_, [](bool is_doubted) { return is_doubted; })) return;
    const auto [first, count] = RowsOf(item);
    Exact::Multiply(weight(), first, count, arrays_.exact, t, 1, YOf(block, t) + first, weight().rows);
    computed_.fetch_add(count, std::memory_order_relaxed);
  }

  // What was left out stays so.
  void Cap(const TokenBlock& block, size_t t, size_t item) {
    const auto [first, count] = RowsOf(item);
    const D d;
    float* y = YOf(block, t) + first;
    Fill(count, y, [&](auto load) HWY_ATTR {
      const auto products = load(y);
      const auto is_out = hn::Eq(products, hn::Neg(hn::Inf(d)));
      return hn::IfThenElse(is_out, products, SoftCapped(d, products, part_.softcap));
    });
  }

  const NormProduct& part_;
  const Screen& screen_;
  const size_t largest_;
  // Of rows; and of their largest how many are computed to find what those that are wanted are at least.
  const size_t groups_;
  const size_t looked_;
  const Stream& stream_;
  float* y_;
  // Rows an item, and items.
  const size_t rows_;
  const size_t row_items_;
  const Arrays arrays_;
  std::atomic<size_t> computed_{0};
};

size_t RunScreened(const NormProduct& part, const Screen& screen, size_t largest, const Stream& stream, float* y,
                   Scratch& scratch, const Parallel& parallel) {
  ScreenedProductJob job(part, screen, largest, stream, y, scratch, parallel.workers);
  RunJob(job, parallel);
  return job.computed();
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ScreenRows);
HWY_EXPORT(RunScreened);
}  // namespace

Screen::Screen(const BlockMatrix& weight, const Parallel& parallel)
    : weight_(weight),
      codes_(new uint8_t[weight.rows * Blocks(weight.columns) * kBlock / 2]),
      margins_(new float[weight.rows]),
      upper_{{codes_.get(), weight.stored.scales, weight.stored.zero_points}, weight.rows, weight.columns} {
  constexpr size_t kRowsATask = 1024;
  const auto task = [](void* argument, size_t index) {
    const Screen& screen = *static_cast<const Screen*>(argument);
    const size_t first = index * kRowsATask;
    HWY_DYNAMIC_DISPATCH(ScreenRows)
    (screen.weight_, first, std::min(first + kRowsATask, screen.weight_.rows), screen.codes_.get(), screen.margins_.get());
  };
  parallel.run(parallel.state, DivideUp(weight.rows, kRowsATask), task, this);
}

size_t RunScreenedProduct(const NormProduct& part, const Screen& screen, size_t largest, const Stream& stream, float* y,
                          Scratch& scratch, const Parallel& parallel) {
  return stream.tokens == 0 ? 0 : HWY_DYNAMIC_DISPATCH(RunScreened)(part, screen, largest, stream, y, scratch, parallel);
}

}  // namespace lacuna
#endif  // HWY_ONCE
