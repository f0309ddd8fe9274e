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

  // What of a run a query attends to: positions first to end - 1 of it, at least one.
  struct Query {
    const float* query;
    size_t first;
    size_t end;
    // [head_size]
    float* weighted;
    RunSums* sums;
  };
  // Queries that pass over a run together.
  static constexpr size_t kMostQueries = 16;

  // `softcap` 0: none.
  Attention(size_t head_size, float scale, float softcap) : head_size_(head_size), scale_(scale), softcap_(softcap) {}

  // Queries of one group: keys and values of the run's positions are [position, head_size]. Each piece of them stays in the
  // nearest cache while all queries pass; what a query gets does not depend on the others.
  HWY_INLINE void Run(const Query* queries, size_t count, const float* HWY_RESTRICT keys,
                      const float* HWY_RESTRICT values) const {
    float weights[kMostQueries][kRun];
    size_t end = 0;
    for (size_t q = 0; q < count; ++q) end = std::max(end, queries[q].end);
    for (size_t tile = 0; tile < end; tile += kLanes) {
      for (size_t q = 0; q < count; ++q) {
        if (tile < queries[q].end && tile + kLanes > queries[q].first)
          Scores(queries[q].query, keys + tile * head_size_, std::min(kLanes, end - tile), weights[q] + tile);
      }
    }
    for (size_t q = 0; q < count; ++q) *queries[q].sums = Weights(queries[q], weights[q]);
    size_t i = 0;
    for (; i + 4 * kLanes <= head_size_; i += 4 * kLanes) {
      for (size_t q = 0; q < count; ++q) Weigh<4>(queries[q], weights[q], values, i);
    }
    for (; i < head_size_; i += kLanes) {
      for (size_t q = 0; q < count; ++q) Weigh<1>(queries[q], weights[q], values, i);
    }
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
  static_assert(kRun % kLanes == 0 && 16 % kLanes == 0);

  // Scores of a vector of keys; past `count` those of the last.
  HWY_INLINE void Scores(const float* HWY_RESTRICT query, const float* HWY_RESTRICT keys, size_t count,
                         float* HWY_RESTRICT scores) const {
    const D d;
    const float* rows[kLanes];
    for (size_t k = 0; k < kLanes; ++k) rows[k] = keys + std::min(k, count - 1) * head_size_;
    V sums[kLanes];
#pragma GCC unroll 16
    for (size_t k = 0; k < kLanes; ++k) sums[k] = hn::Zero(d);
    for (size_t i = 0; i < head_size_; i += kLanes) {
      const V part = hn::LoadU(d, query + i);
#pragma GCC unroll 16
      for (size_t k = 0; k < kLanes; ++k) sums[k] = hn::MulAdd(part, hn::LoadU(d, rows[k] + i), sums[k]);
    }
    V all = hn::Mul(SumsOfLanes<kLanes>(d, sums), hn::Set(d, scale_));
    if (softcap_ != 0) {
      const V cap = hn::Set(d, softcap_);
      all = hn::Mul(cap, hn::Tanh(d, hn::Div(all, cap)));
    }
    hn::StoreU(all, d, scores);
  }

  // Scores become exp(score - largest), 0 where the query does not attend.
  static HWY_INLINE RunSums Weights(const Query& query, float* HWY_RESTRICT weights) {
    const D d;
    const size_t start = query.first / kLanes * kLanes;
    // Of lanes from i on, those that are attended to.
    const auto attended = [&](size_t i) HWY_ATTR {
      const auto before = hn::FirstN(d, i < query.first ? query.first - i : 0);
      return hn::AndNot(before, hn::FirstN(d, query.end - i));
    };
    V largest = hn::Set(d, -std::numeric_limits<float>::infinity());
    for (size_t i = start; i < query.end; i += kLanes)
      largest = hn::IfThenElse(attended(i), hn::Max(largest, hn::LoadU(d, weights + i)), largest);
    const V limit = hn::Set(d, hn::ReduceMax(d, largest));
    V sums = hn::Zero(d);
    for (size_t i = start; i < query.end; i += kLanes) {
      const V distances = hn::Sub(hn::LoadU(d, weights + i), limit);
      // What is not a number stays so.
      const V exps = hn::MulAdd(distances, hn::Zero(d), ClampedExp(d, distances));
      const V lane = hn::IfThenElseZero(attended(i), exps);
      sums = hn::Add(sums, lane);
      hn::StoreU(lane, d, weights + i);
    }
    return {hn::GetLane(limit), hn::ReduceSum(d, sums)};
  }

  // kVectors vectors of a query's weighted values, from entry i on: even and odd positions apart, which is as many sums as
  // hide the latency of one.
  template <size_t kVectors>
  HWY_INLINE void Weigh(const Query& query, const float* HWY_RESTRICT weights, const float* HWY_RESTRICT values,
                        size_t i) const {
    const D d;
    V even[kVectors], odd[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) even[v] = odd[v] = hn::Zero(d);
    size_t j = query.first;
    for (; j + 2 <= query.end; j += 2) {
      const V first = hn::Set(d, weights[j]), second = hn::Set(d, weights[j + 1]);
      const float* from = values + j * head_size_ + i;
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        even[v] = hn::MulAdd(first, hn::LoadU(d, from + v * kLanes), even[v]);
        odd[v] = hn::MulAdd(second, hn::LoadU(d, from + head_size_ + v * kLanes), odd[v]);
      }
    }
    if (j < query.end) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v)
        even[v] = hn::MulAdd(hn::Set(d, weights[j]), hn::LoadU(d, values + j * head_size_ + i + v * kLanes), even[v]);
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(hn::Add(even[v], odd[v]), d, query.weighted + i + v * kLanes);
  }

  const size_t head_size_;
  const float scale_;
  const float softcap_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
