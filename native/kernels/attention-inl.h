// Attention of queries to keys and values of one head, in runs of kRun positions that start at multiples of it. Each
// run is a softmax of its own, and runs are joined from left to right. So the result has the same bits whether runs are
// computed one after the other or side by side.
//
// A few queries read keys as they are stored, with a key's entries in the lanes. Many queries share keys that were
// transposed first. Then lanes are keys, and a tile of queries multiplies each vector of them. Entries are added in the
// order of the lanes in the first method, which gives the same bits.
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

// The softmax of some positions: the sum of exp(score - largest), and the values weighted by it. At first there are no
// positions.
struct RunSums {
  float largest = -std::numeric_limits<float>::infinity();
  float weights = 0;
};

// Keys or values of a run as floats, [position, size].
struct FloatRows {
  HWY_INLINE hn::Vec<hn::ScalableTag<float>> operator()(size_t position, size_t i) const {
    return hn::LoadU(hn::ScalableTag<float>(), start + position * size + i);
  }
  void Fetch(size_t, size_t, size_t) const {}

  const float* start;
  size_t size;
};

class Attention {
 public:
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  static constexpr size_t kRun = 64;

  // The part of a run that a query attends to: its positions first to end - 1, at least one. They are joined to earlier
  // ones with the sums `sums` and the weighted values `weighted`, [head_size], which are zeros at first.
  struct Query {
    const float* query;
    size_t first;
    size_t end;
    RunSums* sums;
    float* weighted;
  };
  // Queries that pass over a run together.
  static constexpr size_t kMostQueries = 16;
  // From this number of queries on, transposing a run's keys pays.
  static constexpr size_t kManyQueries = 8;

  // `softcap` 0: none.
  Attention(size_t head_size, float scale, float softcap) : head_size_(head_size), scale_(scale), softcap_(softcap) {}

  // Transposed keys of a run.
  size_t transposed_size() const { return kRun * head_size_; }

  // Transposes the first `count` keys of a run, [position, head_size]. Tile by tile of kTileKeys keys there are the
  // entries of lane 0, then those of lane 1 and so on, each [kTileKeys]: the order in which they are read. The padding
  // of the last tile is read too, but not used.
  void Transpose(const float* HWY_RESTRICT keys, size_t count, float* HWY_RESTRICT transposed) const {
    const D d;
    const size_t vectors = head_size_ / kLanes;
    for (size_t key = 0; key < count; key += kLanes) {
      float* to = transposed + key / kTileKeys * kTileKeys * head_size_ + key % kTileKeys;
      for (size_t i = 0; i < vectors; ++i) {
        V rows[kLanes];
#pragma GCC unroll 16
        for (size_t k = 0; k < kLanes; ++k)
          rows[k] = hn::LoadU(d, keys + std::min(key + k, count - 1) * head_size_ + i * kLanes);
        TransposeBlock(rows);
#pragma GCC unroll 16
        for (size_t lane = 0; lane < kLanes; ++lane) hn::StoreU(rows[lane], d, to + (lane * vectors + i) * kTileKeys);
      }
    }
  }

  // A few queries over a run. keys(position, i) is a vector of a key's entries, from entry i on, and so is values(position, i).
  // Each vector is read once for as many queries as fit into registers. Before some entries are read, keys.Fetch(position, i,
  // count) or values.Fetch says so, for what comes after them. The result of a query does not depend on the others.
  template <class Keys, class Values>
  void RunFew(const Query* queries, size_t count, const Keys& keys, const Values& values) const {
    float scores[kMostQueries][kRun];
    const size_t first = FirstOf(queries, count) / kLanes * kLanes, end = EndOf(queries, count);
    size_t q = 0;
    for (; q + kScoredQueries <= count; q += kScoredQueries)
      RunScores<kScoredQueries>(queries + q, keys, first, end, scores + q);
    switch (count - q) {
      case 3:
        RunScores<std::min<size_t>(3, kScoredQueries)>(queries + q, keys, first, end, scores + q);
        break;
      case 2:
        RunScores<std::min<size_t>(2, kScoredQueries)>(queries + q, keys, first, end, scores + q);
        break;
      case 1:
        RunScores<1>(queries + q, keys, first, end, scores + q);
        break;
    }
    Weigh(queries, count, scores, values);
  }

  // Queries over a run with transposed keys.
  void RunMany(const Query* queries, size_t count, const float* HWY_RESTRICT transposed,
               const FloatRows& values) const {
    float scores[kMostQueries][kRun];
    const size_t end = EndOf(queries, count);
    for (size_t key = 0; key < end; key += kTileKeys) {
      for (size_t q = 0; q < count; q += kTileQueries)
        TileOfScores(queries + q, std::min(kTileQueries, count - q), transposed + key * head_size_, scores + q, key);
    }
    Weigh(queries, count, scores, values);
  }

  // Joins a run to earlier ones.
  void Join(const RunSums& run, const float* HWY_RESTRICT weighted, RunSums& all, float* HWY_RESTRICT to) const {
    const Shares shares = JoinSums(run, all);
    const D d;
    for (size_t i = 0; i < head_size_; i += kLanes) JoinVector(shares, hn::LoadU(d, weighted + i), to + i);
  }

  // Weighted values become their mean.
  void Finish(const RunSums& all, float* to) const {
    const D d;
    const auto inverse = hn::Set(d, 1 / all.weights);
    for (size_t i = 0; i < head_size_; i += kLanes) hn::StoreU(hn::Mul(hn::LoadU(d, to + i), inverse), d, to + i);
  }

  // Scores of products of queries and keys.
  HWY_INLINE V Scaled(V products) const {
    const D d;
    const V scores = hn::Mul(products, hn::Set(d, scale_));
    return softcap_ == 0 ? scores : SoftCapped(d, scores, softcap_);
  }

 private:
  static constexpr size_t kLanes = hn::MaxLanes(D());
  // The size of a head is a multiple of 16.
  static_assert(kRun % kLanes == 0 && 16 % kLanes == 0);
  // Queries times vectors that are summed side by side: 4 x 4 need the 32 registers of AVX-512 and NEON.
  static constexpr size_t kTileQueries = 4;
  // Vectors of a key that are read without a branch.
  static constexpr size_t kParts = 4;
  // Queries whose sums with some keys fill a vector.
  static constexpr size_t kScoredQueries = kLanes / 4;
  static constexpr size_t kTileVectors = (HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM) ? 4 : 2;
  static constexpr size_t kTileKeys = kTileVectors * kLanes;

  // Sums of queries and vectors.
  struct Tile {
    // An implicit one would not be compiled for the target.
    HWY_INLINE Tile() {}
    V at[kTileQueries][kTileVectors];
  };

  // The factors of sums when runs are joined: for earlier runs and for this run.
  struct Shares {
    float before;
    float run;
  };

  static size_t FirstOf(const Query* queries, size_t count) {
    size_t first = kRun;
    for (size_t q = 0; q < count; ++q) first = std::min(first, queries[q].first);
    return first;
  }
  static size_t EndOf(const Query* queries, size_t count) {
    size_t end = 0;
    for (size_t q = 0; q < count; ++q) end = std::max(end, queries[q].end);
    return end;
  }

  // Rows become columns: each round moves the lowest bit of a column's number to the top of the row's, and the reverse.
  static HWY_INLINE void TransposeBlock(V* rows) {
    const D d;
#pragma GCC unroll 4
    for (size_t round = 1; round < kLanes; round *= 2) {
      V next[kLanes];
#pragma GCC unroll 8
      for (size_t i = 0; i < kLanes / 2; ++i) {
        next[i] = hn::ConcatEven(d, rows[2 * i + 1], rows[2 * i]);
        next[i + kLanes / 2] = hn::ConcatOdd(d, rows[2 * i + 1], rows[2 * i]);
      }
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; ++i) rows[i] = next[i];
    }
  }

  // Scores of some queries and the positions of a run from `first` to `end` - 1. What is beyond is as the last position.
  template <size_t kQueries, class Keys>
  HWY_INLINE void RunScores(const Query* queries, const Keys& keys, size_t first, size_t end, float (*scores)[kRun]) const {
    const D d;
    // A vector has the sums of all queries and some keys.
    constexpr size_t kPlaces = kQueries == 3 ? 4 : kQueries, kKeys = kLanes / kPlaces;
    for (size_t key = first; key < end; key += kKeys) {
      V sums[kLanes];
#pragma GCC unroll 16
      for (size_t i = 0; i < kLanes; ++i) sums[i] = hn::Zero(d);
#pragma GCC unroll 16
      for (size_t k = 0; k < kKeys; ++k)
        AddProducts<kQueries>(queries, keys, std::min(key + k, end - 1), kKeys, sums + k);
      float products[kLanes];
      hn::StoreU(Scaled(SumsOfLanes<kLanes>(d, sums)), d, products);
#pragma GCC unroll 4
      for (size_t q = 0; q < kQueries; ++q) std::copy_n(products + q * kKeys, kKeys, scores[q] + key);
    }
  }

  // Adds the products of a key and some queries to sums that lie `stride` apart.
  template <size_t kQueries, class Keys>
  HWY_INLINE void AddProducts(const Query* queries, const Keys& keys, size_t position, size_t stride, V* sums) const {
    const D d;
    const auto add = [&](size_t i) HWY_ATTR {
      const V entries = keys(position, i);
#pragma GCC unroll 4
      for (size_t q = 0; q < kQueries; ++q)
        sums[q * stride] = hn::MulAdd(hn::LoadU(d, queries[q].query + i), entries, sums[q * stride]);
    };
    size_t i = 0;
    for (; i + kParts * kLanes <= head_size_; i += kParts * kLanes) {
      keys.Fetch(position, i, kParts * kLanes);
#pragma GCC unroll 4
      for (size_t v = 0; v < kParts; ++v) add(i + v * kLanes);
    }
    keys.Fetch(position, i, head_size_ - i);
    for (; i < head_size_; i += kLanes) add(i);
  }

  // Scores of a tile's queries and keys, from position `key` on. Past `count`, the last query is repeated.
  void TileOfScores(const Query* queries, size_t count, const float* HWY_RESTRICT transposed, float (*scores)[kRun],
                    size_t key) const {
    const float* inputs[kTileQueries];
    for (size_t q = 0; q < kTileQueries; ++q) inputs[q] = queries[std::min(q, count - 1)].query;
    // Sums of 1, 2, 4, ... lanes that wait for the same number of further ones: pairs are added as SumsOfLanes adds
    // them.
    constexpr size_t kLevels = hwy::CeilLog2(kLanes) + 1;
    Tile waiting[kLevels];
    for (size_t lane = 0; lane < kLanes; ++lane, transposed += head_size_ / kLanes * kTileKeys) {
      Tile sums = SumsOfLane(inputs, lane, transposed);
      size_t level = 0;
      for (; lane >> level & 1; ++level) sums = SumOf(waiting[level], sums);
      waiting[level] = sums;
    }
    for (size_t q = 0; q < count; ++q) {
      for (size_t v = 0; v < kTileVectors; ++v)
        hn::StoreU(Scaled(waiting[kLevels - 1].at[q][v]), D(), scores[q] + key + v * kLanes);
    }
  }

  // Products of a lane's entries.
  HWY_INLINE Tile SumsOfLane(const float* const* inputs, size_t lane, const float* HWY_RESTRICT transposed) const {
    const D d;
    Tile sums;
#pragma GCC unroll 4
    for (size_t q = 0; q < kTileQueries; ++q) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kTileVectors; ++v) sums.at[q][v] = hn::Zero(d);
    }
    for (size_t i = lane; i < head_size_; i += kLanes, transposed += kTileKeys) {
      V keys[kTileVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < kTileVectors; ++v) keys[v] = hn::LoadU(d, transposed + v * kLanes);
#pragma GCC unroll 4
      for (size_t q = 0; q < kTileQueries; ++q) {
        const V part = hn::Set(d, inputs[q][i]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kTileVectors; ++v) sums.at[q][v] = hn::MulAdd(part, keys[v], sums.at[q][v]);
      }
    }
    return sums;
  }

  static HWY_INLINE Tile SumOf(const Tile& a, const Tile& b) {
    Tile sum;
#pragma GCC unroll 4
    for (size_t q = 0; q < kTileQueries; ++q) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kTileVectors; ++v) sum.at[q][v] = hn::Add(a.at[q][v], b.at[q][v]);
    }
    return sum;
  }

  // Values weighted by the scores' softmax, joined to earlier ones.
  template <class Values>
  HWY_INLINE void Weigh(const Query* queries, size_t count, float (*scores)[kRun], const Values& values) const {
    Shares shares[kMostQueries];
    RunSums sums[kMostQueries];
    // Step by step for all queries, because a query's own steps wait for each other.
    for (size_t q = 0; q < count; ++q) sums[q].largest = Largest(queries[q], scores[q]);
    for (size_t q = 0; q < count; ++q) sums[q].weights = Weights(queries[q], sums[q].largest, scores[q]);
    for (size_t q = 0; q < count; ++q) shares[q] = JoinSums(sums[q], *queries[q].sums);
    size_t i = 0;
    for (; i + 4 * kLanes <= head_size_; i += 4 * kLanes) WeighVectors<4>(queries, count, scores, shares, values, i);
    for (; i + 2 * kLanes <= head_size_; i += 2 * kLanes) WeighVectors<2>(queries, count, scores, shares, values, i);
    for (; i < head_size_; i += kLanes) WeighVectors<1>(queries, count, scores, shares, values, i);
  }

  // The largest score among those that a query attends to. The others in their vectors become the lowest value.
  static HWY_INLINE float Largest(const Query& query, float* HWY_RESTRICT scores) {
    const D d;
    const V least = hn::Set(d, -std::numeric_limits<float>::infinity());
    const size_t start = query.first / kLanes * kLanes;
    if (const size_t before = query.first % kLanes; before != 0)
      hn::StoreU(hn::IfThenElse(hn::FirstN(d, before), least, hn::LoadU(d, scores + start)), d, scores + start);
    if (const size_t attended = query.end % kLanes; attended != 0) {
      float* last = scores + query.end - attended;
      hn::StoreU(hn::IfThenElse(hn::FirstN(d, attended), hn::LoadU(d, last), least), d, last);
    }
    V largest = least;
    for (size_t i = start; i < query.end; i += kLanes) largest = hn::Max(largest, hn::LoadU(d, scores + i));
    return hn::ReduceMax(d, largest);
  }

  // Scores become exp(score - largest), and are summed.
  static HWY_INLINE float Weights(const Query& query, float largest, float* HWY_RESTRICT scores) {
    const D d;
    const V limit = hn::Set(d, largest);
    V sums = hn::Zero(d);
    for (size_t i = query.first / kLanes * kLanes; i < query.end; i += kLanes) {
      const V distances = hn::Sub(hn::LoadU(d, scores + i), limit);
      // NaN stays NaN.
      const V exps = hn::IfThenElse(hn::IsNaN(distances), distances, ClampedExp(d, distances));
      sums = hn::Add(sums, exps);
      hn::StoreU(exps, d, scores + i);
    }
    return hn::ReduceSum(d, sums);
  }

  static HWY_INLINE Shares JoinSums(const RunSums& run, RunSums& all) {
    // One of the two is exp(0).
    const float other = std::exp(-std::abs(all.largest - run.largest));
    const Shares shares = run.largest > all.largest ? Shares{other, 1} : Shares{1, other};
    all = {std::max(all.largest, run.largest), all.weights * shares.before + run.weights * shares.run};
    return shares;
  }

  static HWY_INLINE void JoinVector(const Shares& shares, V run, float* to) {
    const D d;
    const V before = hn::Mul(hn::LoadU(d, to), hn::Set(d, shares.before));
    hn::StoreU(hn::MulAdd(run, hn::Set(d, shares.run), before), d, to);
  }

  // kVectors vectors of queries' weighted values, from entry i on.
  template <size_t kVectors, class Values>
  HWY_INLINE void WeighVectors(const Query* queries, size_t count, const float (*weights)[kRun], const Shares* shares,
                               const Values& values, size_t i) const {
    size_t q = 0;
    for (; q + 4 <= count; q += 4) WeighTiles<4, kVectors>(queries + q, weights + q, shares + q, values, i);
    switch (count - q) {
      case 3:
        return WeighTiles<3, kVectors>(queries + q, weights + q, shares + q, values, i);
      case 2:
        return WeighTiles<2, kVectors>(queries + q, weights + q, shares + q, values, i);
      case 1:
        return WeighTiles<1, kVectors>(queries + q, weights + q, shares + q, values, i);
    }
  }

  // As many side by side as fit into registers.
  template <size_t kQueries, size_t kVectors, class Values>
  HWY_INLINE void WeighTiles(const Query* queries, const float (*weights)[kRun], const Shares* shares, const Values& values,
                             size_t i) const {
    constexpr size_t kTogether = kQueries < 3 ? kVectors : std::min(kVectors, kTileVectors);
    for (size_t end = i + kVectors * kLanes; i < end; i += kTogether * kLanes)
      WeighTile<kQueries, kTogether>(queries, weights, shares, values, i);
  }

  template <size_t kQueries, size_t kVectors, class Values>
  void WeighTile(const Query* queries, const float (*weights)[kRun], const Shares* shares, const Values& values,
                 size_t i) const {
    const D d;
    // Positions that some queries attend to, and among them those that all queries attend to.
    size_t first = queries[0].first, end = queries[0].end, all_first = first, all_end = end;
    for (size_t q = 1; q < kQueries; ++q) {
      first = std::min(first, queries[q].first);
      all_first = std::max(all_first, queries[q].first);
      end = std::max(end, queries[q].end);
      all_end = std::min(all_end, queries[q].end);
    }
    V sums[kQueries][kVectors];
#pragma GCC unroll 4
    for (size_t q = 0; q < kQueries; ++q) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) sums[q][v] = hn::Zero(d);
    }
    for (size_t j = first; j < end; ++j) {
      const bool all = all_first <= j && j < all_end;
      values.Fetch(j, i, kVectors * kLanes);
      V from[kVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) from[v] = values(j, i + v * kLanes);
#pragma GCC unroll 4
      for (size_t q = 0; q < kQueries; ++q) {
        // A weight of zero would not do: NaN at a position must show only in queries that attend to it.
        if (!all && (j < queries[q].first || j >= queries[q].end)) continue;
        const V weight = hn::Set(d, weights[q][j]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kVectors; ++v) sums[q][v] = hn::MulAdd(weight, from[v], sums[q][v]);
      }
    }
#pragma GCC unroll 4
    for (size_t q = 0; q < kQueries; ++q) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) JoinVector(shares[q], sums[q][v], queries[q].weighted + i + v * kLanes);
    }
  }

  const size_t head_size_;
  const float scale_;
  const float softcap_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
