// Attention of one query to few of the tokens before it: those with the largest predicted scores (sketch-inl.h).
//
// Of n visible tokens, a query attends to k at most: the first kFirstTokens, the newest kNewestTokens, and from between these the
// ones with the largest predicted scores, if they predict at least kLeastShare / n of all weight. Those get their exact scores and
// their values. The tokens that are left out add a share of the weight that their predicted scores give them (kRestShare), times
// the mean of all values up to the last whole run:
//
//     y = (sum of exp(s_i - M) v_i + mean of values * share * sum of exp(p_j - M)) / (sum of all these weights)
//
// That mean says as much of what is left out as the mean of the values left out, of all tokens or part by part, and it is one sum.
// The sum of all values is kept beside the keys, run by run. In float32, r runs add r + 63 roundings to a sum at most, relative to
// the sum of sizes: 1e-4 of the mean size after 100,000 tokens.
#if defined(LACUNA_KERNELS_FEW_KEYS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_FEW_KEYS_INL_H_
#undef LACUNA_KERNELS_FEW_KEYS_INL_H_
#else
#define LACUNA_KERNELS_FEW_KEYS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/attention-inl.h"
#include "kernels/block_products-inl.h"
#include "kernels/cache-inl.h"
#include "kernels/cache_format.h"
#include "kernels/sketch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

class FewKeys {
 public:
  // What a query works in. All hold at least all visible tokens, in whole runs.
  struct Scratch {
    // Predicted scores, of which those of the first and the newest tokens become -infinity, and their sums by run.
    float* scores;
    const RunSums* sums;
    // The positions attended to, in ascending order, and their weights.
    uint32_t* chosen;
    float* weights;
  };

  // What was chosen by predicted scores.
  struct Choice {
    // Positions.
    size_t count;
    // A value that no score left out exceeds, and that all chosen by their scores reach.
    float least;
    // The sum of exp(score - least) of what is left out.
    float rest;
  };

  FewKeys(const Attention& attention, const HeadCache& keys, const HeadCache& values, const Sketch& sketch, size_t head_size)
      : attention_(attention), keys_(keys), values_(values), sketch_(sketch), head_size_(head_size) {}

  // The positions that a query attends to, `most` at most, of more `visible` ones, whose predicted scores have these sums by run.
  // Calls fetch(position) for those that have to be read.
  template <class Fetch>
  static Choice Choose(size_t visible, size_t most, float* HWY_RESTRICT scores, const RunSums* sums, uint32_t* HWY_RESTRICT chosen,
                       Fetch fetch) {
    const size_t newest = visible - kNewestTokens, runs = DivideUp(visible, kCacheRun);
    std::fill_n(scores, kFirstTokens, kNone);
    std::fill(scores + newest, scores + visible, kNone);
    size_t count = 0;
    const auto take = [&](size_t position) HWY_ATTR {
      fetch(position);
      chosen[count++] = static_cast<uint32_t>(position);
    };
    for (size_t position = 0; position < kFirstTokens; ++position) take(position);
    const size_t by_score = most - kFirstTokens - kNewestTokens;
    const float least = LeastChosen(scores, runs * kCacheRun, by_score, LeastOfShare(sums, runs, visible));
    const auto [found, rest] = Split(scores, runs * kCacheRun, least, by_score, chosen + count, fetch);
    count += found;
    for (size_t position = newest; position < visible; ++position) take(position);
    return {count, least, rest};
  }

  // The attention of `query` to `most` tokens at most, of more `visible` ones, [head_size]. Returns to how many.
  size_t Attend(const float* HWY_RESTRICT query, size_t visible, size_t most, const Scratch& scratch, float* HWY_RESTRICT to) const {
    switch (keys_.format()) {
      case CacheFormat::kFp32:
        return Attend<CacheFormat::kFp32>(query, visible, most, scratch, to);
      case CacheFormat::kFp16:
        return Attend<CacheFormat::kFp16>(query, visible, most, scratch, to);
      case CacheFormat::kInt8:
        return Attend<CacheFormat::kInt8>(query, visible, most, scratch, to);
    }
    return 0;
  }

 private:
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  static constexpr float kNone = -std::numeric_limits<float>::infinity();
  // Vectors that are handled side by side. A run has whole multiples of them.
  static constexpr size_t kVectors = 4;
  static_assert(kCacheRun % (kVectors * kLanes) == 0);
  // Vectors of values that are summed side by side: of one part, in registers.
  static constexpr size_t kSums = std::min<size_t>(8, kCachePart / kLanes);

  // How many scores are at least `limit`. `count` is a multiple of kCacheRun.
  static size_t CountFrom(const float* HWY_RESTRICT scores, size_t count, float limit) {
    const D d;
    const hn::RebindToSigned<D> di;
    const V limits = hn::Set(d, limit);
    hn::Vec<decltype(di)> found[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) found[v] = hn::Zero(di);
    for (size_t i = 0; i < count; i += kVectors * kLanes) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        const auto reached = hn::Ge(hn::LoadU(d, scores + i + v * kLanes), limits);
        found[v] = hn::Sub(found[v], hn::BitCast(di, hn::VecFromMask(d, reached)));
      }
    }
    const auto all = hn::Add(hn::Add(found[0], found[1]), hn::Add(found[2], found[3]));
    return static_cast<size_t>(hn::ReduceSum(di, all));
  }

  // The score that predicts kLeastShare of the mean of all weights.
  static float LeastOfShare(const RunSums* sums, size_t runs, size_t visible) {
    float largest = kNone, weights = 0;
    for (size_t run = 0; run < runs; ++run) largest = std::max(largest, sums[run].largest);
    for (size_t run = 0; run < runs; ++run)
      weights += sums[run].weights * (sums[run].largest == largest ? 1 : std::exp(sums[run].largest - largest));
    return largest + std::log(kLeastShare * weights / static_cast<float>(visible));
  }

  // `floor`, if not more than `wanted` scores reach it. Else a value that exactly `wanted` scores reach; where equal scores do not allow that, the largest that more of them reach. At least
  // one is wanted. Tokens that are not chosen by their scores have none.
  static float LeastChosen(const float* HWY_RESTRICT scores, size_t count, size_t wanted, float floor) {
    if (CountFrom(scores, count, floor) <= wanted) return floor;
    const D d;
    constexpr float kLowest = std::numeric_limits<float>::lowest();
    V highest = hn::Set(d, kLowest), sums = hn::Zero(d), squares = hn::Zero(d);
    for (size_t i = 0; i < count; i += kLanes) {
      const V score = hn::LoadU(d, scores + i), known = hn::IfThenElseZero(hn::Ge(score, hn::Set(d, kLowest)), score);
      highest = hn::Max(highest, score);
      sums = hn::Add(sums, known);
      squares = hn::MulAdd(known, known, squares);
    }
    const float largest = hn::ReduceMax(d, highest);
    const size_t at_largest = CountFrom(scores, count, largest);
    if (at_largest >= wanted) return largest;
    const float mean = hn::ReduceSum(d, sums) / static_cast<float>(count);
    const float deviation = std::sqrt(hn::ReduceSum(d, squares) / static_cast<float>(count) - mean * mean);
    // More than `wanted` scores reach `below`, fewer reach `above`, and a normal distribution has a sixth above the first guess.
    float below = kLowest, above = std::min(largest, -kLowest), guess = mean + deviation;
    double many = static_cast<double>(count), few = static_cast<double>(at_largest);
    for (size_t tries = 0;; ++tries) {
      if (!(guess > below && guess < above)) guess = 0.5f * below + 0.5f * above;
      if (!(guess > below && guess < above)) return below;
      const size_t reached = CountFrom(scores, count, guess);
      if (reached == wanted) return guess;
      (reached > wanted ? below : above) = guess;
      (reached > wanted ? many : few) = static_cast<double>(reached);
      // The number above a value falls about exponentially, so its logarithm is interpolated. Every third guess halves what is
      // left, so that any distribution comes to an end.
      const double wide = std::log(many / static_cast<double>(wanted)), narrow = std::log(static_cast<double>(wanted) / (few + 0.5));
      const auto share = static_cast<float>(wide / (wide + narrow));
      guess = below == kLowest || tries % 3 == 2 ? 0.5f * below + 0.5f * above : below + share * (above - below);
      if (below == kLowest && tries < 8) guess = above - deviation * static_cast<float>(1 << tries);
    }
  }

  struct Found {
    size_t count;
    float rest;
  };
  // Writes the positions whose scores reach `least`, without the last that equal it if they are more than `most`. Also returns the
  // sum of exp(score - least) of the others. What is chosen comes from memory meanwhile.
  template <class Fetch>
  static Found Split(const float* HWY_RESTRICT scores, size_t count, float least, size_t most, uint32_t* HWY_RESTRICT to,
                     Fetch fetch) {
    const D d;
    const hn::RebindToUnsigned<D> du;
    const V limit = hn::Set(d, least);
    V weights = hn::Zero(d);
    size_t found = 0, fetched = 0;
    for (size_t i = 0; i < count; i += kLanes) {
      const V score = hn::LoadU(d, scores + i);
      const auto reached = hn::Ge(score, limit);
      // Fewer positions were found than passed, so there is room for a whole vector.
      hn::StoreU(hn::Compress(hn::Iota(du, static_cast<uint32_t>(i)), hn::RebindMask(du, reached)), du, to + found);
      found += hn::CountTrue(d, reached);
      for (; fetched < found; ++fetched) fetch(to[fetched]);
      weights = hn::Add(weights, hn::IfThenZeroElse(reached, ClampedExp(d, hn::Sub(score, limit))));
    }
    const size_t surplus = found > most ? found - most : 0;
    for (size_t i = found, left = surplus; left > 0 && i-- > 0;) {
      if (scores[to[i]] != least) continue;
      std::copy(to + i + 1, to + found, to + i);
      --found;
      --left;
    }
    return {found, hn::ReduceSum(d, weights) + static_cast<float>(surplus)};
  }

  template <CacheFormat kFormat>
  size_t Attend(const float* HWY_RESTRICT query, size_t visible, size_t most, const Scratch& scratch, float* HWY_RESTRICT to) const {
    const auto fetch = [&](size_t position) { keys_.Fetch<kFormat>(position); };
    const Choice choice = Choose(visible, most, scratch.scores, scratch.sums, scratch.chosen, fetch);
    const size_t attended = choice.count;
    const float largest = std::max(choice.least, Scores<kFormat>(query, attended, scratch));
    const float rest = kRestShare * choice.rest * std::exp(choice.least - largest);
    const float inverse = 1 / (Weights(attended, largest, scratch.weights) + rest);
    const size_t runs = visible / kCacheRun;
    const float* sum_of_values = sketch_.SumOf(runs - 1);
    const float share = rest / static_cast<float>(runs * kCacheRun);
    size_t i = 0;
    for (; i + kSums * kLanes <= head_size_; i += kSums * kLanes) Weigh<kFormat, kSums>(attended, scratch, sum_of_values, share, inverse, i, to);
    for (; i < head_size_; i += kLanes) Weigh<kFormat, 1>(attended, scratch, sum_of_values, share, inverse, i, to);
    return attended;
  }

  // The scores of chosen positions, as weights. Values come from memory meanwhile. Returns the largest; those that pad the last
  // vector are as the last one.
  template <CacheFormat kFormat>
  float Scores(const float* HWY_RESTRICT query, size_t attended, const Scratch& scratch) const {
    const D d;
    V largest = hn::Set(d, kNone);
    for (size_t first = 0; first < attended; first += kLanes) {
      V sums[kLanes];
#pragma GCC unroll 16
      for (size_t k = 0; k < kLanes; ++k) {
        const size_t position = scratch.chosen[std::min(first + k, attended - 1)];
        values_.Fetch<kFormat>(position);
        sums[k] = keys_.Products<kFormat>(position, query);
      }
      const V scores = attention_.Scaled(SumsOfLanes<kLanes>(d, sums));
      largest = hn::Max(largest, scores);
      hn::StoreU(scores, d, scratch.weights + first);
    }
    return hn::ReduceMax(d, largest);
  }

  // Scores become exp(score - largest). Returns their sum.
  static float Weights(size_t attended, float largest, float* HWY_RESTRICT weights) {
    const D d;
    const V limit = hn::Set(d, largest);
    V sums = hn::Zero(d);
    for (size_t i = 0; i < attended; i += kLanes) {
      const V distances = hn::Sub(hn::LoadU(d, weights + i), limit);
      // NaN stays NaN.
      const V exps = hn::IfThenElse(hn::IsNaN(distances), distances, ClampedExp(d, distances));
      sums = hn::Add(sums, hn::IfThenElseZero(hn::FirstN(d, attended - i), exps));
      hn::StoreU(exps, d, weights + i);
    }
    return hn::ReduceSum(d, sums);
  }

  // kVectors vectors of the result, from entry i on.
  template <CacheFormat kFormat, size_t kVectors>
  HWY_INLINE void Weigh(size_t attended, const Scratch& scratch, const float* HWY_RESTRICT sum_of_values, float share, float inverse,
                        size_t i, float* HWY_RESTRICT to) const {
    const D d;
    V sums[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::Mul(hn::Set(d, share), hn::LoadU(d, sum_of_values + i + v * kLanes));
    for (size_t j = 0; j < attended; ++j)
      values_.AddEntries<kFormat, kVectors>(scratch.chosen[j], i, scratch.weights[j], sums);
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(hn::Mul(sums[v], hn::Set(d, inverse)), d, to + i + v * kLanes);
  }

  const Attention& attention_;
  const HeadCache keys_;
  const HeadCache values_;
  const Sketch sketch_;
  const size_t head_size_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
