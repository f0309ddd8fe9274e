#include "kernels/spark_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/phases.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/spark_attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/part-inl.h"
#include "kernels/rows_ahead-inl.h"
#include "kernels/statistics-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Products of queries and keys with `width` entries, with the entries in the lanes.
class Products {
 public:
  static constexpr size_t kQueries = 4;
  static constexpr size_t kKeys = 2;

  // to[q][k] = scale * (queries[q] . (keys + k * stride)) for a few of both. A product has the same bits whatever is
  // beside it: one sum, along the row.
  static HWY_INLINE void Tile(const float* const* queries, size_t count, const float* keys, size_t stride, size_t many,
                              size_t width, float scale, float* const* to) {
    if (count == kQueries && many == kKeys) return FullTile(queries, keys, stride, width, scale, to);
    for (size_t q = 0; q < count; ++q)
      for (size_t k = 0; k < many; ++k) to[q][k] = scale * One(queries[q], keys + k * stride, width);
  }

  static HWY_INLINE float One(const float* HWY_RESTRICT query, const float* HWY_RESTRICT key, size_t width) {
    const D d;
    auto sum = hn::Zero(d);
    size_t i = 0;
    for (; i + hn::Lanes(d) <= width; i += hn::Lanes(d)) sum = hn::MulAdd(hn::LoadU(d, query + i), hn::LoadU(d, key + i), sum);
    if (i < width) sum = hn::MulAdd(hn::LoadN(d, query + i, width - i), hn::LoadN(d, key + i, width - i), sum);
    return hn::ReduceSum(d, sum);
  }

 private:
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;

  static HWY_INLINE void FullTile(const float* const* queries, const float* HWY_RESTRICT keys, size_t stride, size_t width,
                                  float scale, float* const* to) {
    const D d;
    V sums[kQueries][kKeys];
#pragma GCC unroll 4
    for (size_t q = 0; q < kQueries; ++q) {
#pragma GCC unroll 2
      for (size_t k = 0; k < kKeys; ++k) sums[q][k] = hn::Zero(d);
    }
    size_t i = 0;
    for (; i + hn::Lanes(d) <= width; i += hn::Lanes(d)) {
      V key[kKeys];
#pragma GCC unroll 2
      for (size_t k = 0; k < kKeys; ++k) key[k] = hn::LoadU(d, keys + k * stride + i);
#pragma GCC unroll 4
      for (size_t q = 0; q < kQueries; ++q) {
        const V query = hn::LoadU(d, queries[q] + i);
#pragma GCC unroll 2
        for (size_t k = 0; k < kKeys; ++k) sums[q][k] = hn::MulAdd(query, key[k], sums[q][k]);
      }
    }
    const size_t left = width - i;
    for (size_t q = 0; q < kQueries; ++q)
      for (size_t k = 0; k < kKeys; ++k) {
        V sum = sums[q][k];
        if (left > 0) sum = hn::MulAdd(hn::LoadN(d, queries[q] + i, left), hn::LoadN(d, keys + k * stride + i, left), sum);
        to[q][k] = scale * hn::ReduceSum(d, sum);
      }
  }
};

class SparkAttentionJob : public PhasedJob {
 public:
  SparkAttentionJob(const SparkAttention& op, const SparkCache& cache, size_t tokens, const float* projected, float* y,
                    int32_t* attended, Scratch& scratch, size_t most_workers)
      : PhasedJob(tokens, attended == nullptr ? 2 : 3, op.heads * op.predictor_size * (cache.seen + tokens) * tokens, most_workers),
        op_(op),
        cache_(cache),
        tokens_(tokens),
        projected_(projected),
        y_(y),
        attended_(attended),
        head_(op.head_size),
        group_(op.heads / op.kv_heads),
        arrays_(Place<Arrays>(scratch, *this, cache.seen + tokens)) {
    Number([this](size_t phase, const TokenBlock& block) {
      switch (phase) {
        case kAppend:
          return op_.kv_heads;
        case kAttend:
          return op_.kv_heads * TilesOf(block);
        default:
          return DivideUp(block.count, kTokens);
      }
    });
  }

  void Item(size_t phase, const TokenBlock& block, size_t item, size_t worker) {
    switch (phase) {
      case kAppend:
        return Append(block, item);
      case kAttend:
        return Attend(block, item / TilesOf(block), item % TilesOf(block), worker);
      case kCount:
        return ForTokens(block, item, [this](size_t token, size_t t) {
          const int32_t* const counts = arrays_.counts + t * op_.heads;
          int32_t sum = 0;
          for (size_t head = 0; head < op_.heads; ++head) sum += counts[head];
          attended_[token] = sum;
        });
    }
  }

  void Fetch(size_t, size_t) const {}

 private:
  using D = hn::ScalableTag<float>;
  enum Phase { kAppend, kAttend, kCount };
  // Queries of one key head that pass over the keys together.
  static constexpr size_t kTileQueries = 2 * Products::kQueries;
  // Chosen keys whose entries are asked for ahead.
  static constexpr size_t kAhead = 4;

  struct Arrays {
    Arrays(const SparkAttentionJob& job, size_t positions, ScratchLayout& layout)
        : queries(layout.Array<float>(job.most_tokens(), job.op_.heads, job.head_)),
          counts(layout.Array<int32_t>(job.most_tokens(), job.op_.heads)),
          scores(layout.Array<float>(job.workers(), kTileQueries, RoomFor(positions))),
          weights(layout.Array<float>(job.workers(), RoomFor(positions))),
          chosen(layout.Array<uint32_t>(job.workers(), RoomFor(positions))),
          room(RoomFor(positions)) {}

    // Whole vectors, so that the last may be stored as a whole.
    static size_t RoomFor(size_t positions) { return DivideUp(positions, 16) * 16; }

    // [tokens of a block, heads, head_size], turned to their positions.
    float* queries;
    // [tokens of a block, heads]
    int32_t* counts;
    // [workers, queries of a tile, positions]
    float* scores;
    // [workers, positions]: of chosen keys.
    float* weights;
    uint32_t* chosen;
    size_t room;
  };

  size_t TilesOf(const TokenBlock& block) const { return DivideUp(block.count * group_, kTileQueries); }

  // A key head's past, where the cache is another one, and the block's new keys and values; and the queries of its group.
  void Append(const TokenBlock& block, size_t kv_head) const {
    if (block.first == 0) {
      CopyPast(cache_.past_key, cache_.key, kv_head);
      CopyPast(cache_.past_value, cache_.value, kv_head);
    }
    const size_t stride = (op_.heads + 2 * op_.kv_heads) * head_;
    for (size_t t = 0; t < block.count; ++t) {
      const size_t position = cache_.seen + block.first + t;
      const float* const token = projected_ + (block.first + t) * stride;
      for (size_t head = kv_head * group_; head < (kv_head + 1) * group_; ++head)
        Turn(token + head * head_, position, arrays_.queries + (t * op_.heads + head) * head_);
      const size_t place = (kv_head * cache_.capacity + position) * head_;
      Turn(token + (op_.heads + kv_head) * head_, position, cache_.key + place);
      std::copy_n(token + (op_.heads + op_.kv_heads + kv_head) * head_, head_, cache_.value + place);
    }
  }

  // Zeros come after the new tokens.
  void CopyPast(const float* past, float* to, size_t kv_head) const {
    if (past == to) return;
    float* const place = to + kv_head * cache_.capacity * head_;
    std::copy_n(past + kv_head * cache_.past_capacity * head_, cache_.seen * head_, place);
    std::fill(place + (cache_.seen + tokens_) * head_, place + cache_.capacity * head_, 0.0f);
  }

  void Turn(const float* HWY_RESTRICT from, size_t position, float* HWY_RESTRICT to) const {
    TurnPart(from, op_.predictor_size, op_.predictor, position, to);
    TurnPart(from + op_.predictor_size, head_ - op_.predictor_size, op_.others, position, to + op_.predictor_size);
  }

  static void TurnPart(const float* HWY_RESTRICT from, size_t width, const Rotary& rotary, size_t position,
                       float* HWY_RESTRICT to) {
    const size_t half = width / 2;
    const float* const cosines = rotary.cosines + position * half;
    const float* const sines = rotary.sines + position * half;
    for (size_t i = 0; i < half; ++i) {
      const float first = from[i], second = from[half + i];
      to[i] = first * cosines[i] - second * sines[i];
      to[half + i] = second * cosines[i] + first * sines[i];
    }
  }

  // Some queries of a key head. Those of a token are side by side, so a tile's keys are nearly the same.
  void Attend(const TokenBlock& block, size_t kv_head, size_t tile, size_t worker) const {
    const size_t first = tile * kTileQueries, count = std::min(kTileQueries, block.count * group_ - first);
    const float* queries[kTileQueries];
    float* scores[kTileQueries];
    size_t visible[kTileQueries];
    for (size_t q = 0; q < count; ++q) {
      const size_t t = (first + q) / group_, head = kv_head * group_ + (first + q) % group_;
      queries[q] = arrays_.queries + (t * op_.heads + head) * head_;
      scores[q] = arrays_.scores + (worker * kTileQueries + q) * arrays_.room;
      visible[q] = cache_.seen + block.first + t + 1;
    }
    const float* const keys = cache_.key + kv_head * cache_.capacity * head_;
    Score(queries, count, keys, visible[count - 1], scores);
    for (size_t q = 0; q < count; ++q) {
      const size_t t = (first + q) / group_, head = kv_head * group_ + (first + q) % group_;
      float* const to = y_ + ((block.first + t) * op_.heads + head) * head_;
      const size_t chosen = Choose(scores[q], visible[q], worker);
      arrays_.counts[t * op_.heads + head] = static_cast<int32_t>(chosen);
      Weigh(queries[q], keys, cache_.value + kv_head * cache_.capacity * head_, chosen, worker, to);
    }
  }

  // The last query sees the most keys. Scores of keys that others do not see are not used.
  void Score(const float* const* queries, size_t count, const float* keys, size_t visible, float* const* scores) const {
    const float scale = 1 / std::sqrt(static_cast<float>(op_.predictor_size));
    for (size_t key = 0; key < visible; key += Products::kKeys) {
      const float* const rows = keys + key * head_;
      const size_t many = std::min(Products::kKeys, visible - key);
      for (size_t k = 0; k < many; ++k) FetchBytes(rows + (Products::kKeys * kAhead + k) * head_, op_.predictor_size * sizeof(float));
      for (size_t q = 0; q < count; q += Products::kQueries) {
        float* to[Products::kQueries];
        const size_t these = std::min(Products::kQueries, count - q);
        for (size_t one = 0; one < these; ++one) to[one] = scores[q + one] + key;
        Products::Tile(queries + q, these, rows, head_, many, op_.predictor_size, scale, to);
      }
    }
  }

  // Leaves the chosen keys' places and exp(score - largest), divided by their sum, in the worker's arrays. Returns how many.
  size_t Choose(float* HWY_RESTRICT scores, size_t visible, size_t worker) const {
    const D d;
    if (op_.softcap != 0)
      for (size_t i = 0; i < visible; i += hn::Lanes(d))
        hn::StoreU(SoftCapped(d, hn::LoadU(d, scores + i), op_.softcap), d, scores + i);
    const Moments moments = MomentsOf(scores, visible);
    const auto mean = static_cast<float>(moments.mean);
    const float largest = LargestOf(scores, visible) - mean;
    // The key with the largest score is always attended to.
    const float cut = std::min(static_cast<float>(moments.Deviation()) * op_.quantiles[visible - 1], largest);
    float* const weights = arrays_.weights + worker * arrays_.room;
    uint32_t* const chosen = arrays_.chosen + worker * arrays_.room;
    size_t count = 0;
    const auto limit = hn::Set(d, cut), centre = hn::Set(d, mean);
    for (size_t i = 0; i < visible; i += hn::Lanes(d)) {
      const size_t many = std::min(hn::Lanes(d), visible - i);
      const auto centred = hn::Sub(hn::LoadU(d, scores + i), centre);
      // NaN is chosen, so that it shows.
      if (hn::AllTrue(d, hn::Or(hn::Lt(centred, limit), hn::Not(hn::FirstN(d, many))))) continue;
      hn::StoreU(centred, d, scores + i);
      for (size_t j = i; j < i + many; ++j) {
        if (scores[j] < cut) continue;
        chosen[count] = static_cast<uint32_t>(j);
        weights[count++] = scores[j];
      }
    }
    Normalise(weights, count, largest);
    return count;
  }

  static float LargestOf(const float* HWY_RESTRICT scores, size_t visible) {
    const D d;
    const auto least = hn::Set(d, -std::numeric_limits<float>::infinity());
    auto largest = least;
    size_t i = 0;
    for (; i + hn::Lanes(d) <= visible; i += hn::Lanes(d)) largest = hn::Max(largest, hn::LoadU(d, scores + i));
    if (i < visible) largest = hn::Max(largest, hn::LoadNOr(least, d, scores + i, visible - i));
    return hn::ReduceMax(d, largest);
  }

  static void Normalise(float* HWY_RESTRICT weights, size_t count, float largest) {
    const D d;
    const auto limit = hn::Set(d, largest);
    auto sums = hn::Zero(d);
    for (size_t i = 0; i < count; i += hn::Lanes(d)) {
      const auto distances = hn::Sub(hn::LoadU(d, weights + i), limit);
      const auto exps = hn::IfThenElse(hn::IsNaN(distances), distances, ClampedExp(d, distances));
      sums = hn::Add(sums, hn::IfThenElseZero(hn::FirstN(d, std::min(hn::Lanes(d), count - i)), exps));
      hn::StoreU(exps, d, weights + i);
    }
    const auto sum = hn::Set(d, hn::ReduceSum(d, sums));
    for (size_t i = 0; i < count; i += hn::Lanes(d)) hn::StoreU(hn::Div(hn::LoadU(d, weights + i), sum), d, weights + i);
  }

  // y = sum of the chosen keys' values, each times its weight and softplus of the product of the heads' other entries.
  void Weigh(const float* query, const float* keys, const float* values, size_t count, size_t worker,
             float* HWY_RESTRICT to) const {
    float* const weights = arrays_.weights + worker * arrays_.room;
    const uint32_t* const chosen = arrays_.chosen + worker * arrays_.room;
    const size_t rest = head_ - op_.predictor_size;
    const float scale = 1 / std::sqrt(static_cast<float>(rest));
    const auto fetch = [&](size_t one) {
      if (one >= count) return;
      FetchBytes(keys + chosen[one] * head_ + op_.predictor_size, rest * sizeof(float));
      FetchBytes(values + chosen[one] * head_, head_ * sizeof(float));
    };
    for (size_t one = 0; one < kAhead; ++one) fetch(one);
    std::fill_n(to, head_, 0.0f);
    for (size_t one = 0; one < count; ++one) {
      fetch(one + kAhead);
      const float other = scale * Products::One(query + op_.predictor_size, keys + chosen[one] * head_ + op_.predictor_size, rest);
      // log(1 + exp(x)), which does not overflow.
      const float softplus = std::max(other, 0.0f) + std::log1p(std::exp(-std::abs(other)));
      AddValue(weights[one] * softplus, values + chosen[one] * head_, to);
    }
  }

  void AddValue(float weight, const float* HWY_RESTRICT value, float* HWY_RESTRICT to) const {
    const D d;
    const auto factor = hn::Set(d, weight);
    size_t i = 0;
    for (; i + hn::Lanes(d) <= head_; i += hn::Lanes(d))
      hn::StoreU(hn::MulAdd(factor, hn::LoadU(d, value + i), hn::LoadU(d, to + i)), d, to + i);
    if (i == head_) return;
    const size_t left = head_ - i;
    hn::StoreN(hn::MulAdd(factor, hn::LoadN(d, value + i, left), hn::LoadN(d, to + i, left)), d, to + i, left);
  }

  const SparkAttention& op_;
  const SparkCache& cache_;
  const size_t tokens_;
  const float* const projected_;
  float* const y_;
  int32_t* const attended_;
  const size_t head_;
  // Queries that share a key head.
  const size_t group_;
  const Arrays arrays_;
};

void RunAttention(const SparkAttention& op, const SparkCache& cache, size_t tokens, const float* projected, float* y,
                  int32_t* attended, Scratch& scratch, const Parallel& parallel) {
  SparkAttentionJob job(op, cache, tokens, projected, y, attended, scratch, parallel.workers);
  RunJob(job, parallel);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(RunAttention);

// Where nothing is new the visible past is all there is.
void CopyCache(const SparkAttention& op, const SparkCache& cache, const float* past, float* to) {
  if (past == to) return;
  std::fill_n(to, op.kv_heads * cache.capacity * op.head_size, 0.0f);
  for (size_t head = 0; head < op.kv_heads; ++head)
    std::copy_n(past + head * cache.past_capacity * op.head_size, cache.seen * op.head_size,
                to + head * cache.capacity * op.head_size);
}

}  // namespace

void RunSparkAttention(const SparkAttention& op, const SparkCache& cache, size_t tokens, const float* projected, float* y,
                       int32_t* attended, Scratch& scratch, const Parallel& parallel) {
  if (tokens > 0)
    return HWY_DYNAMIC_DISPATCH(RunAttention)(op, cache, tokens, projected, y, attended, scratch, parallel);
  CopyCache(op, cache, cache.past_key, cache.key);
  CopyCache(op, cache, cache.past_value, cache.value);
}

}  // namespace lacuna
#endif  // HWY_ONCE
