// Attention of one query to few of the tokens before it: those with the largest predicted scores (sketch-inl.h).
//
// Of n visible tokens, a query attends to k: the first kFirstTokens, the newest kNewestTokens and up to kSketchTile - 1 more, so
// that what is left begins and ends with a tile, and from between these the ones with the largest predicted scores. Those get
// their exact scores and their values. The tokens that are left out add, tile by tile, the softmax weight that their predicted
// scores give them, times the mean of their values:
//
//     y = (sum of exp(s_i - M) v_i + sum over tiles of mean weight * sum of values left out) / (sum of all weights)
//
// The sum of a tile's values is kept beside the keys. The sum of those left out is that sum less the values attended to, which
// are read anyway. A sum of 16 values in float32 is exact to 15 roundings, and so is what is left of it after the subtraction,
// relative to the values' sizes. A mean weight is at most that of the least predicted score attended to, so this error is no
// larger than that of the values attended to.
#if defined(LACUNA_KERNELS_FEW_KEYS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_FEW_KEYS_INL_H_
#undef LACUNA_KERNELS_FEW_KEYS_INL_H_
#else
#define LACUNA_KERNELS_FEW_KEYS_INL_H_
#endif

#include <algorithm>
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
    // [at least all visible tokens, in whole runs] predicted scores, which become the logarithms of weights left out.
    float* scores;
    // As many positions: those attended to, in ascending order.
    uint32_t* chosen;
    // [tiles] mean weights of what is left out.
    float* means;
    // [2, kCacheRun, head_size] keys and values attended to.
    float* gathered;
    // [head_size] what is left out adds up to this.
    float* rest;
  };

  FewKeys(const Attention& attention, const HeadCache& keys, const HeadCache& values, const Sketch& sketch, size_t head_size)
      : attention_(attention), keys_(keys), values_(values), sketch_(sketch), head_size_(head_size) {}

  // The first of the newest tokens that are always attended to.
  static size_t NewestOf(size_t visible) { return (visible - kNewestTokens) / kSketchTile * kSketchTile; }

  // The positions that a query attends to, as many as `wanted`, of more `visible` ones. The scores of these positions become
  // -infinity. Returns the least score of those that were chosen by it, which is the largest that those left out may have.
  static float Choose(size_t visible, size_t wanted, float* HWY_RESTRICT scores, uint32_t* HWY_RESTRICT chosen) {
    const size_t newest = NewestOf(visible), always = kFirstTokens + visible - newest;
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    std::fill_n(scores, kFirstTokens, kNone);
    for (size_t i = 0; i < kFirstTokens; ++i) chosen[i] = static_cast<uint32_t>(i);
    size_t count = kFirstTokens;
    const float least = LeastChosen(scores, newest, wanted - always);
    count += Collect(scores, newest, least, wanted - always, chosen + count);
    for (size_t i = newest; i < visible; ++i) chosen[count++] = static_cast<uint32_t>(i);
    for (size_t i = kFirstTokens; i < count - (visible - newest); ++i) scores[chosen[i]] = kNone;
    return least;
  }

  // The attention of `query` to `attended` tokens of more `visible` ones, [head_size].
  void Attend(const float* HWY_RESTRICT query, size_t visible, size_t attended, const Scratch& scratch,
              float* HWY_RESTRICT to) const {
    const float least = Choose(visible, attended, scratch.scores, scratch.chosen);
    RunSums rest = WeighRest(visible, attended, least, scratch), sums;
    std::fill_n(to, head_size_, 0.0f);
    for (size_t first = 0; first < attended; first += kCacheRun)
      Gather(scratch, first, std::min(kCacheRun, attended - first), attended, NewestOf(visible), query, sums, to);
    attention_.Join(rest, scratch.rest, sums, to);
    attention_.Finish(sums, to);
  }

 private:
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  // Positions whose entries are fetched while others are read.
  static constexpr size_t kAhead = 24;

  // How many scores are at least `limit`. `count` is a multiple of kSketchTile.
  static HWY_INLINE size_t CountFrom(const float* HWY_RESTRICT scores, size_t count, float limit) {
    const D d;
    const hn::RebindToSigned<D> di;
    const V limits = hn::Set(d, limit);
    auto found = hn::Zero(di);
    for (size_t i = 0; i < count; i += kLanes)
      found = hn::Sub(found, hn::BitCast(di, hn::VecFromMask(d, hn::Ge(hn::LoadU(d, scores + i), limits))));
    return static_cast<size_t>(hn::ReduceSum(di, found));
  }

  // A value that exactly `wanted` scores reach; where equal scores do not allow that, the largest that more of them reach. If none
  // are wanted, the largest score.
  static float LeastChosen(const float* HWY_RESTRICT scores, size_t count, size_t wanted) {
    const D d;
    constexpr float kLowest = std::numeric_limits<float>::lowest();
    V highest = hn::Set(d, kLowest), sums = hn::Zero(d);
    for (size_t i = 0; i < count; i += kLanes) {
      const V score = hn::LoadU(d, scores + i);
      highest = hn::Max(highest, score);
      // The first tokens, which are not chosen by their scores, have none.
      sums = hn::Add(sums, hn::IfThenElseZero(hn::Ge(score, hn::Set(d, kLowest)), score));
    }
    const float largest = hn::ReduceMax(d, highest);
    if (wanted == 0 || CountFrom(scores, count, largest) >= wanted) return largest;
    // Scores lie about their mean, so the guesses begin there.
    float below = kLowest, above = std::min(largest, -kLowest), guess = hn::ReduceSum(d, sums) / static_cast<float>(count);
    if (!(guess > below && guess < above)) guess = 0.5f * below + 0.5f * above;
    while (guess > below && guess < above) {
      const size_t reached = CountFrom(scores, count, guess);
      if (reached == wanted) return guess;
      (reached > wanted ? below : above) = guess;
      guess = 0.5f * below + 0.5f * above;
    }
    return below;
  }

  // Writes the positions whose scores are at least `least`, and of those that equal it only as many as are wanted in all.
  static size_t Collect(const float* HWY_RESTRICT scores, size_t count, float least, size_t wanted, uint32_t* HWY_RESTRICT to) {
    if (wanted == 0) return 0;
    const D d;
    const hn::RebindToUnsigned<D> du;
    size_t found = 0;
    for (size_t i = 0; i < count; i += kLanes) {
      const auto reached = hn::RebindMask(du, hn::Ge(hn::LoadU(d, scores + i), hn::Set(d, least)));
      found += hn::CompressStore(hn::Iota(du, static_cast<uint32_t>(i)), reached, du, to + found);
    }
    if (found <= wanted) return found;
    // Of equal scores, the last are left out.
    size_t surplus = found - wanted, kept = found;
    for (size_t i = found; i-- > 0 && surplus > 0;) {
      if (scores[to[i]] != least) continue;
      std::copy(to + i + 1, to + kept, to + i);
      --kept;
      --surplus;
    }
    return kept;
  }

  // The sums of what is left out. It is weighted relative to the largest score that it may have.
  RunSums WeighRest(size_t visible, size_t attended, float largest, const Scratch& scratch) const {
    const D d;
    const size_t tiles = NewestOf(visible) / kSketchTile;
    std::fill_n(scratch.rest, head_size_, 0.0f);
    RunSums sums;
    sums.largest = largest;
    // Of each tile, first how many are attended to.
    std::fill_n(scratch.means, tiles, 0.0f);
    for (size_t i = 0; i < attended && scratch.chosen[i] / kSketchTile < tiles; ++i)
      scratch.means[scratch.chosen[i] / kSketchTile] += 1;
    for (size_t tile = 0; tile < tiles; ++tile) {
      V weights = hn::Zero(d);
      for (size_t i = 0; i < kSketchTile; i += kLanes) {
        const V distances = hn::Sub(hn::LoadU(d, scratch.scores + tile * kSketchTile + i), hn::Set(d, largest));
        weights = hn::Add(weights, hn::IfThenElse(hn::IsNaN(distances), distances, ClampedExp(d, distances)));
      }
      const float left = static_cast<float>(kSketchTile) - scratch.means[tile];
      const float weight = left == 0 ? 0 : hn::ReduceSum(d, weights), mean = left == 0 ? 0 : weight / left;
      scratch.means[tile] = mean;
      sums.weights += weight;
      const float* values = sketch_.SumOf(tile);
      AddTimes(mean, values, scratch.rest);
    }
    return sums;
  }

  HWY_INLINE void AddTimes(float factor, const float* HWY_RESTRICT from, float* HWY_RESTRICT to) const {
    const D d;
    const V factors = hn::Set(d, factor);
    for (size_t i = 0; i < head_size_; i += kLanes)
      hn::StoreU(hn::MulAdd(factors, hn::LoadU(d, from + i), hn::LoadU(d, to + i)), d, to + i);
  }

  // Attends to some of the chosen positions, and takes their values out of what is left.
  void Gather(const Scratch& scratch, size_t first, size_t count, size_t attended, size_t newest, const float* query, RunSums& sums,
              float* HWY_RESTRICT to) const {
    const uint32_t* chosen = scratch.chosen;
    float *keys = scratch.gathered, *values = keys + kCacheRun * head_size_;
    for (size_t i = 0; i < count; ++i) {
      const size_t position = chosen[first + i], ahead = chosen[std::min(first + i + kAhead, attended - 1)];
      keys_.Fetch(ahead);
      values_.Fetch(ahead);
      keys_.WidenPosition(position, keys + i * head_size_);
      float* value = values + i * head_size_;
      values_.WidenPosition(position, value);
      // Of the newest tokens, none is left out.
      if (position < newest) AddTimes(-scratch.means[position / kSketchTile], value, scratch.rest);
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
