// Attention of one query to keys and values of one head, in runs of kRun positions that start at multiples of it: each is a
// softmax of its own, and runs are joined from left to right. So the result has the same bits whether runs are computed one
// after the other or side by side.
#if defined(LACUNA_KERNELS_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_ATTENTION_INL_H_
#undef LACUNA_KERNELS_ATTENTION_INL_H_
#else
#define LACUNA_KERNELS_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/block_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The softmax of a run: exp(score - largest) summed, and the values weighted by it, [head_size].
struct RunSums {
  float largest;
  float weights;
};

class Attention {
 public:
  static constexpr size_t kRun = 64;

  // `softcap` 0: none.
  Attention(size_t head_size, float scale, float softcap) : head_size_(head_size), scale_(scale), softcap_(softcap) {}

  // Of `count` positions of one run: keys and values [count, head_size]; `weighted` [head_size] gets the weighted values.
  HWY_INLINE RunSums Run(const float* HWY_RESTRICT query, const float* HWY_RESTRICT keys, const float* HWY_RESTRICT values,
                         size_t count, float* HWY_RESTRICT weighted) const {
    const D d;
    // A position's lanes past the count have weight 0.
    float weights[kRun];
    auto largest = hn::Set(d, -std::numeric_limits<float>::infinity());
    for (size_t first = 0; first < count; first += kLanes) {
      const auto scores = Scores(query, keys + first * head_size_, std::min(kLanes, count - first));
      largest = hn::Max(largest, scores);
      hn::StoreU(scores, d, weights + first);
    }
    const float limit = hn::ReduceMax(d, largest);
    auto sums = hn::Zero(d);
    for (size_t first = 0; first < count; first += kLanes) {
      const auto distances = hn::Sub(hn::LoadU(d, weights + first), hn::Set(d, limit));
      // What is not a number stays so.
      const auto exps = hn::MulAdd(distances, hn::Zero(d), ClampedExp(d, distances));
      const auto lane = hn::IfThenElseZero(hn::FirstN(d, count - first), exps);
      sums = hn::Add(sums, lane);
      hn::StoreU(lane, d, weights + first);
    }
    size_t i = 0;
    for (; i + 4 * kLanes <= head_size_; i += 4 * kLanes) Weigh<4>(weights, values + i, count, weighted + i);
    for (; i < head_size_; i += kPart) WeighPart(weights, values + i, count, weighted + i);
    return {limit, hn::ReduceSum(d, sums)};
  }

  // Adds a run to those before it, whose sums are `all` and whose weighted values are `to`.
  HWY_INLINE void Join(const RunSums& run, const float* HWY_RESTRICT weighted, RunSums& all, float* HWY_RESTRICT to) const {
    const float limit = std::max(all.largest, run.largest);
    const float before = std::exp(all.largest - limit), after = std::exp(run.largest - limit);
    all = {limit, all.weights * before + run.weights * after};
    const D d;
    for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) {
      const auto scaled = hn::Mul(hn::LoadU(d, to + i), hn::Set(d, before));
      hn::StoreU(hn::MulAdd(hn::LoadU(d, weighted + i), hn::Set(d, after), scaled), d, to + i);
    }
  }

  // Weighted values become their mean.
  HWY_INLINE void Finish(const RunSums& all, float* to) const {
    const D d;
    const auto inverse = hn::Set(d, 1 / all.weights);
    for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) hn::StoreU(hn::Mul(hn::LoadU(d, to + i), inverse), d, to + i);
  }

 private:
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  // Heads are multiples of 16.
  static constexpr size_t kPart = 16;
  static_assert(kRun % kLanes == 0 && kPart % kLanes == 0);

  // Scores of up to a vector of keys; past `count` those of the last.
  HWY_INLINE V Scores(const float* HWY_RESTRICT query, const float* HWY_RESTRICT keys, size_t count) const {
    const D d;
    const float* rows[kLanes];
    for (size_t k = 0; k < kLanes; ++k) rows[k] = keys + std::min(k, count - 1) * head_size_;
    hn::Vec<D> sums[kLanes];
#pragma GCC unroll 16
    for (size_t k = 0; k < kLanes; ++k) sums[k] = hn::Zero(d);
    for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) {
      const auto part = hn::LoadU(d, query + i);
#pragma GCC unroll 16
      for (size_t k = 0; k < kLanes; ++k) sums[k] = hn::MulAdd(part, hn::LoadU(d, rows[k] + i), sums[k]);
    }
    const V scores = hn::Mul(SumsOfLanes<kLanes>(d, sums), hn::Set(d, scale_));
    if (softcap_ == 0) return scores;
    const V cap = hn::Set(d, softcap_);
    return hn::Mul(cap, hn::Tanh(d, hn::Div(scores, cap)));
  }

  // weighted[i] = sum over positions of weight * value, for kVectors vectors: even and odd positions apart, which is as many
  // sums as hide the latency of one.
  template <size_t kVectors>
  HWY_INLINE void Weigh(const float* HWY_RESTRICT weights, const float* HWY_RESTRICT values, size_t count,
                        float* HWY_RESTRICT weighted) const {
    const D d;
    V even[kVectors], odd[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) even[v] = odd[v] = hn::Zero(d);
    size_t j = 0;
    for (; j + 2 <= count; j += 2) {
      const V first = hn::Set(d, weights[j]), second = hn::Set(d, weights[j + 1]);
      const float* from = values + j * head_size_;
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        even[v] = hn::MulAdd(first, hn::LoadU(d, from + v * kLanes), even[v]);
        odd[v] = hn::MulAdd(second, hn::LoadU(d, from + head_size_ + v * kLanes), odd[v]);
      }
    }
    if (j < count) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v)
        even[v] = hn::MulAdd(hn::Set(d, weights[j]), hn::LoadU(d, values + j * head_size_ + v * kLanes), even[v]);
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(hn::Add(even[v], odd[v]), d, weighted + v * kLanes);
  }

  // The same for the 16 entries of a part.
  HWY_INLINE void WeighPart(const float* weights, const float* values, size_t count, float* weighted) const {
    for (size_t i = 0; i < kPart; i += kLanes) Weigh<1>(weights, values + i, count, weighted + i);
  }

  const size_t head_size_;
  const float scale_;
  const float softcap_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
