// Attention of one query to few of the tokens before it: those with the largest predicted scores (sketch-inl.h).
//
// Of n visible tokens, a query attends to k: the first kFirstTokens, the newest kNewestTokens, and from between these the ones
// with the largest predicted scores. Those get their exact scores and their values. The tokens that are left out add a share
// of the weight that their predicted scores give them (kRestShare), times the mean of all values up to the last whole run:
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
#include "kernels/attention-inl.h"
#include "kernels/cache-inl.h"
#include "kernels/cache_format.h"
#include "kernels/sketch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

class FewKeys {
 public:
  // What a query works in.
  struct Scratch {
    // [at least all visible tokens, in whole runs] predicted scores. Those of chosen tokens become -infinity.
    float* scores;
    // As many positions: those attended to, in ascending order.
    uint32_t* chosen;
    // [2, kCacheRun, head_size] keys and values attended to.
    float* gathered;
    // [head_size] what is left out adds up to this.
    float* rest;
  };

  FewKeys(const Attention& attention, const HeadCache& keys, const HeadCache& values, const Sketch& sketch, size_t head_size)
      : attention_(attention), keys_(keys), values_(values), sketch_(sketch), head_size_(head_size) {}

  // The positions that a query attends to, as many as `wanted`, of more `visible` ones. The scores of these positions become
  // -infinity. Returns a value that no score left out exceeds, and that all chosen by their scores reach.
  static float Choose(size_t visible, size_t wanted, float* HWY_RESTRICT scores, uint32_t* HWY_RESTRICT chosen) {
    const size_t newest = visible - kNewestTokens, padded = (visible + kCacheRun - 1) / kCacheRun * kCacheRun;
    std::fill_n(scores, kFirstTokens, kNone);
    std::fill(scores + newest, scores + padded, kNone);
    for (size_t i = 0; i < kFirstTokens; ++i) chosen[i] = static_cast<uint32_t>(i);
    const size_t by_score = wanted - kFirstTokens - kNewestTokens;
    const float least = LeastChosen(scores, padded, by_score);
    uint32_t* const found = chosen + kFirstTokens;
    Collect(scores, padded, least, by_score, found);
    for (size_t i = 0; i < by_score; ++i) scores[found[i]] = kNone;
    for (size_t i = 0; i < kNewestTokens; ++i) found[by_score + i] = static_cast<uint32_t>(newest + i);
    return least;
  }

  // The attention of `query` to `attended` tokens of more `visible` ones, [head_size].
  void Attend(const float* HWY_RESTRICT query, size_t visible, size_t attended, const Scratch& scratch,
              float* HWY_RESTRICT to) const {
    const float least = Choose(visible, attended, scratch.scores, scratch.chosen);
    FetchFirst(scratch.chosen, attended);
    const RunSums rest = WeighRest(visible, least, scratch);
    RunSums sums;
    std::fill_n(to, head_size_, 0.0f);
    for (size_t first = 0; first < attended; first += kCacheRun)
      Gather(scratch, first, std::min(kCacheRun, attended - first), attended, query, sums, to);
    attention_.Join(rest, scratch.rest, sums, to);
    attention_.Finish(sums, to);
  }

 private:
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  static constexpr float kNone = -std::numeric_limits<float>::infinity();
  // Vectors that are handled side by side. A run has whole multiples of them.
  static constexpr size_t kVectors = 4;
  static_assert(kCacheRun % (kVectors * kLanes) == 0);
  // Positions whose entries are fetched while others are read.
  static constexpr size_t kAhead = 24;

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

  // A value that exactly `wanted` scores reach; where equal scores do not allow that, the largest that more of them reach. If none
  // are wanted, the largest score. Tokens that are not chosen by their scores have none.
  static float LeastChosen(const float* HWY_RESTRICT scores, size_t count, size_t wanted) {
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
    if (wanted == 0) return largest;
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

  // Writes the first `wanted` positions whose scores are above `least`, and as many of those that equal it.
  static void Collect(const float* HWY_RESTRICT scores, size_t count, float least, size_t wanted, uint32_t* HWY_RESTRICT to) {
    if (wanted == 0) return;
    const D d;
    const hn::RebindToUnsigned<D> du;
    size_t found = 0;
    for (size_t i = 0; i < count; i += kLanes) {
      const auto reached = hn::RebindMask(du, hn::Ge(hn::LoadU(d, scores + i), hn::Set(d, least)));
      found += hn::CompressStore(hn::Iota(du, static_cast<uint32_t>(i)), reached, du, to + found);
    }
    // Of equal scores, the last are left out.
    size_t surplus = found - wanted;
    for (size_t i = found; surplus > 0 && i-- > 0;) {
      if (scores[to[i]] != least) continue;
      std::copy(to + i + 1, to + found, to + i);
      --found;
      --surplus;
    }
  }

  // The sums of what is left out. It is weighted relative to a value that its scores do not exceed.
  RunSums WeighRest(size_t visible, float most, const Scratch& scratch) const {
    const D d;
    const V limit = hn::Set(d, most);
    V weights = hn::Zero(d);
    for (size_t i = 0; i < visible - kNewestTokens; i += kLanes) {
      const V distances = hn::Sub(hn::LoadU(d, scratch.scores + i), limit);
      weights = hn::Add(weights, hn::IfThenElse(hn::IsNaN(distances), distances, ClampedExp(d, distances)));
    }
    RunSums sums;
    sums.largest = most;
    sums.weights = kRestShare * hn::ReduceSum(d, weights);
    const size_t runs = visible / kCacheRun;
    const V share = hn::Set(d, sums.weights / static_cast<float>(runs * kCacheRun));
    const float* values = sketch_.SumOf(runs - 1);
    for (size_t i = 0; i < head_size_; i += kLanes) hn::StoreU(hn::Mul(share, hn::LoadU(d, values + i)), d, scratch.rest + i);
    return sums;
  }

  // Asks for the entries that Gather reads first, which come while the rest is weighed.
  void FetchFirst(const uint32_t* chosen, size_t attended) const {
    for (size_t i = 0; i < std::min(kAhead, attended); ++i) {
      keys_.Fetch(chosen[i]);
      values_.Fetch(chosen[i]);
    }
  }

  // Attends to some of the chosen positions.
  void Gather(const Scratch& scratch, size_t first, size_t count, size_t attended, const float* query, RunSums& sums,
              float* HWY_RESTRICT to) const {
    float *keys = scratch.gathered, *values = keys + kCacheRun * head_size_;
    for (size_t i = 0; i < count; ++i) {
      if (const size_t ahead = first + i + kAhead; ahead < attended) {
        keys_.Fetch(scratch.chosen[ahead]);
        values_.Fetch(scratch.chosen[ahead]);
      }
      const size_t position = scratch.chosen[first + i];
      keys_.WidenPosition(position, keys + i * head_size_);
      values_.WidenPosition(position, values + i * head_size_);
    }
    const Attention::Query one = {query, 0, count, &sums, to};
    attention_.RunFew(&one, 1, [&] { return keys; }, [&] { return values; });
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
