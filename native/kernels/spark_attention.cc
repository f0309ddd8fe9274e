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
#include "kernels/block_products-inl.h"
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
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  static constexpr size_t kQueries = 4;
  static_assert(kLanes >= kQueries && 16 % kLanes == 0);

  // Keys whose products with some queries fill a vector.
  static constexpr size_t KeysBeside(size_t queries) { return kLanes / (queries == 3 ? 4 : queries); }

  // The products of kCount queries with as many keys as go beside them: those of the first query, then those of the second.
  // key(k) is the k-th key. A product has the same bits whatever is beside it: one sum, along the row.
  template <size_t kCount, class Key>
  static HWY_INLINE V Tile(const float* const* queries, Key key, size_t width) {
    const D d;
    constexpr size_t kKeys = KeysBeside(kCount);
    const float* keys[kKeys];
#pragma GCC unroll 16
    for (size_t k = 0; k < kKeys; ++k) keys[k] = key(k);
    V sums[kLanes];
#pragma GCC unroll 16
    for (size_t i = 0; i < kLanes; ++i) sums[i] = hn::Zero(d);
    const auto add = [&](auto load, size_t i) HWY_ATTR {
#pragma GCC unroll 16
      for (size_t k = 0; k < kKeys; ++k) {
        const V entries = load(keys[k] + i);
#pragma GCC unroll 4
        for (size_t q = 0; q < kCount; ++q) sums[q * kKeys + k] = hn::MulAdd(load(queries[q] + i), entries, sums[q * kKeys + k]);
      }
    };
    size_t i = 0;
    for (; i + kLanes <= width; i += kLanes) add([d](const float* from) HWY_ATTR { return hn::LoadU(d, from); }, i);
    if (const size_t left = width - i; left > 0) add([d, left](const float* from) HWY_ATTR { return hn::LoadN(d, from, left); }, i);
    return SumsOfLanes<kLanes>(d, sums);
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
  // Keys that are asked for ahead.
  static constexpr size_t kAhead = 8;
  // Vectors of values that are summed side by side.
  static constexpr size_t kSums = 8;

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
    size_t q = 0;
    for (; q + Products::kQueries <= count; q += Products::kQueries)
      ScoreTiles<Products::kQueries>(queries + q, keys, visible, scores + q);
    switch (count - q) {
      case 3:
        return ScoreTiles<3>(queries + q, keys, visible, scores + q);
      case 2:
        return ScoreTiles<2>(queries + q, keys, visible, scores + q);
      case 1:
        return ScoreTiles<1>(queries + q, keys, visible, scores + q);
    }
  }

  template <size_t kCount>
  void ScoreTiles(const float* const* queries, const float* keys, size_t visible, float* const* scores) const {
    constexpr size_t kKeys = Products::KeysBeside(kCount);
    const D d;
    const auto scale = hn::Set(d, 1 / std::sqrt(static_cast<float>(op_.predictor_size)));
    for (size_t key = 0; key < visible; key += kKeys) {
      for (size_t k = 0; k < kKeys; ++k) FetchBytes(keys + (key + kAhead + k) * head_, op_.predictor_size * sizeof(float));
      // Those beyond the last key are as that one.
      const auto row = [&](size_t k) { return keys + std::min(key + k, visible - 1) * head_; };
      float products[Products::kLanes];
      hn::StoreU(hn::Mul(scale, Products::Tile<kCount>(queries, row, op_.predictor_size)), d, products);
      for (size_t q = 0; q < kCount; ++q) std::copy_n(products + q * kKeys, kKeys, scores[q] + key);
    }
  }

  // Leaves the chosen keys' places and exp(score - largest), divided by their sum, in the worker's arrays. Returns how many.
  size_t Choose(float* HWY_RESTRICT scores, size_t visible, size_t worker) const {
    const D d;
    const hn::RebindToUnsigned<D> du;
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
      const auto centred = hn::Sub(hn::LoadU(d, scores + i), centre);
      // NaN is chosen, so that it shows.
      const auto reached = hn::And(hn::Not(hn::Lt(centred, limit)), hn::FirstN(d, visible - i));
      // No more were chosen than passed, so there is room for a whole vector.
      hn::StoreU(hn::Compress(hn::Iota(du, static_cast<uint32_t>(i)), hn::RebindMask(du, reached)), du, chosen + count);
      hn::StoreU(hn::Compress(centred, reached), d, weights + count);
      count += hn::CountTrue(d, reached);
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
    const D d;
    float* const weights = arrays_.weights + worker * arrays_.room;
    const uint32_t* const chosen = arrays_.chosen + worker * arrays_.room;
    const size_t rest = head_ - op_.predictor_size;
    const auto scale = hn::Set(d, 1 / std::sqrt(static_cast<float>(rest)));
    const float* const others = query + op_.predictor_size;
    const auto key_of = [&](size_t one) { return keys + chosen[std::min(one, count - 1)] * head_ + op_.predictor_size; };
    for (size_t one = 0; one < count; one += Products::kLanes) {
      for (size_t k = 0; k < Products::kLanes; ++k) FetchBytes(key_of(one + Products::kLanes + k), rest * sizeof(float));
      const auto products = Products::Tile<1>(&others, [&](size_t k) { return key_of(one + k); }, rest);
      hn::StoreU(hn::Mul(hn::LoadU(d, weights + one), Softplus(hn::Mul(scale, products))), d, weights + one);
    }
    size_t i = 0;
    for (; i + kSums * Products::kLanes <= head_; i += kSums * Products::kLanes) AddValues<kSums>(values, count, weights, chosen, i, to);
    for (; i + Products::kLanes <= head_; i += Products::kLanes) AddValues<1>(values, count, weights, chosen, i, to);
    if (i == head_) return;
    const size_t left = head_ - i;
    auto sum = hn::Zero(d);
    for (size_t one = 0; one < count; ++one)
      sum = hn::MulAdd(hn::Set(d, weights[one]), hn::LoadN(d, values + chosen[one] * head_ + i, left), sum);
    hn::StoreN(sum, d, to + i, left);
  }

  // log(1 + exp(x)), which does not overflow. NaN stays NaN.
  static HWY_INLINE hn::Vec<D> Softplus(hn::Vec<D> x) {
    const D d;
    const auto bent = hn::Add(hn::Max(x, hn::Zero(d)), hn::Log1p(d, ClampedExp(d, hn::Neg(hn::Abs(x)))));
    return hn::IfThenElse(hn::IsNaN(x), x, bent);
  }

  // kVectors vectors of the result, from entry i on.
  template <size_t kVectors>
  HWY_INLINE void AddValues(const float* HWY_RESTRICT values, size_t count, const float* HWY_RESTRICT weights,
                            const uint32_t* HWY_RESTRICT chosen, size_t i, float* HWY_RESTRICT to) const {
    const D d;
    hn::Vec<D> sums[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::Zero(d);
    for (size_t one = 0; one < count; ++one) {
      FetchBytes(values + chosen[std::min(one + kAhead, count - 1)] * head_ + i, kVectors * Products::kLanes * sizeof(float));
      const float* const value = values + chosen[one] * head_ + i;
      const auto weight = hn::Set(d, weights[one]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sums[v] = hn::MulAdd(weight, hn::LoadU(d, value + v * Products::kLanes), sums[v]);
    }
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[v], d, to + i + v * Products::kLanes);
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
