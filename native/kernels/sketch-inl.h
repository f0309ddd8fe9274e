// The sketch of one head's keys (cache_format.h): written key by key, and read to predict the scores of all keys.
//
// Scores are products of queries in 8 bits with keys in 4 bits, which are exact up to the rounding of both. A predicted score is
// their integer sum, times the key's scale, times the query's.
#if defined(LACUNA_KERNELS_SKETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_SKETCH_INL_H_
#undef LACUNA_KERNELS_SKETCH_INL_H_
#else
#define LACUNA_KERNELS_SKETCH_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/attention-inl.h"
#include "kernels/byte_products-inl.h"
#include "kernels/cache-inl.h"
#include "kernels/limits.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A query in 8 bits, with what turns integer sums of its parts into scores.
struct CodedQuery {
  int8_t codes[kMostHeadSize];
  float factors[CacheParts(kMostHeadSize)];
  // Minus the zero of keys' codes times the sum of the query's.
  int32_t starts[CacheParts(kMostHeadSize)];
};

class Sketch {
 public:
  // `keys` are those of the same cache. Scores are multiplied by `scale`, and softly capped by `softcap` unless that is 0.
  Sketch(const HeadCache& keys, CacheFormat format, size_t head_size, float scale, float softcap)
      : keys_(keys),
        after_(CacheRunBytes(format, head_size)),
        head_size_(head_size),
        parts_(CacheParts(head_size)),
        scale_(scale),
        softcap_(softcap) {}

  // Keeps the key of a position.
  void Store(size_t position, const float* HWY_RESTRICT key) const {
    const size_t at = position % kCacheRun, tile = at / kSketchTile, lane = at % kSketchTile;
    uint8_t* to = CodesOf(position / kCacheRun) + tile * SketchTileBytes(head_size_) + lane * kWord;
    float* scales = ScalesOf(position / kCacheRun) + tile * parts_ * kSketchTile + lane;
    for (size_t first = 0; first < head_size_; first += kCachePart, scales += kSketchTile) {
      const size_t size = std::min(kCachePart, head_size_ - first);
      int8_t codes[kCachePart];
      *scales = CodedPart(key + first, size, kMostCode, codes);
      for (size_t i = 0; i < size / 2; i += kWord, to += kSketchTile * kWord) {
        for (size_t j = 0; j < kWord; ++j)
          to[j] = static_cast<uint8_t>((codes[i + j] + kZero) | (codes[size / 2 + i + j] + kZero) << 4);
      }
    }
  }

  // Keeps the sum of the values of a run, as the cache has them, and of all before it.
  void Sum(size_t run, const HeadCache& values) const {
    const D d;
    float* sum = SumOf(run);
    float value[kMostHeadSize];
    std::fill_n(sum, head_size_, 0.0f);
    for (size_t position = run * kCacheRun; position < (run + 1) * kCacheRun; ++position) {
      values.WidenPosition(position, value);
      for (size_t i = 0; i < head_size_; i += kLanes)
        hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, value + i)), d, sum + i);
    }
    for (size_t i = 0; run > 0 && i < head_size_; i += kLanes)
      hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, SumOf(run - 1) + i)), d, sum + i);
  }
  float* SumOf(size_t run) const { return ScalesOf(run) + kCacheRun * parts_; }

  void Code(const float* HWY_RESTRICT query, CodedQuery& coded) const {
    for (size_t first = 0, part = 0; first < head_size_; first += kCachePart, ++part) {
      const size_t size = std::min(kCachePart, head_size_ - first);
      coded.factors[part] = scale_ * CodedPart(query + first, size, 127, coded.codes + first);
      int32_t sum = 0;
      for (size_t i = 0; i < size; ++i) sum += coded.codes[first + i];
      coded.starts[part] = -kZero * sum;
    }
  }

  // Predicted scores of a run's first `visible` keys for some queries, of which each has its scores `stride` after those of the one
  // before, and their sums `sums_stride` after. What is not a number becomes infinity, and what is not visible -infinity. Fetches
  // the next run.
  void Predict(size_t run, size_t visible, const CodedQuery* queries, size_t count, float* HWY_RESTRICT scores, size_t stride,
               RunSums* sums, size_t sums_stride) const {
    PredictScores(run, queries, count, scores, stride);
    for (size_t q = 0; q < count; ++q) {
      std::fill(scores + q * stride + visible, scores + q * stride + kCacheRun, -std::numeric_limits<float>::infinity());
      sums[q * sums_stride] = SumsOf(scores + q * stride);
    }
  }

 private:
  void PredictScores(size_t run, const CodedQuery* queries, size_t count, float* HWY_RESTRICT scores, size_t stride) const {
    const uint8_t* codes = CodesOf(run);
    const float* scales = ScalesOf(run);
    const size_t bytes = SketchTileBytes(head_size_), tile_scales = parts_ * kSketchTile;
    for (size_t tile = 0; tile < kCacheRun / kSketchTile; ++tile, codes += bytes, scales += tile_scales, scores += kSketchTile) {
      FetchBytes(CodesOf(run + 1) + tile * bytes, bytes);
      FetchBytes(ScalesOf(run + 1) + tile * tile_scales, tile_scales * sizeof(float));
      size_t q = 0;
      for (; q + 4 <= count; q += 4) PredictTile<4>(codes, scales, queries + q, scores + q * stride, stride);
      switch (count - q) {
        case 3:
          PredictTile<3>(codes, scales, queries + q, scores + q * stride, stride);
          break;
        case 2:
          PredictTile<2>(codes, scales, queries + q, scores + q * stride, stride);
          break;
        case 1:
          PredictTile<1>(codes, scales, queries + q, scores + q * stride, stride);
          break;
      }
    }
  }

  // The largest of a run's scores, and the sum of exp(score - largest).
  static RunSums SumsOf(const float* HWY_RESTRICT scores) {
    const D d;
    auto largest = hn::LoadU(d, scores);
    for (size_t i = kLanes; i < kCacheRun; i += kLanes) largest = hn::Max(largest, hn::LoadU(d, scores + i));
    const auto limit = hn::Set(d, hn::ReduceMax(d, largest));
    auto weights = hn::Zero(d);
    for (size_t i = 0; i < kCacheRun; i += kLanes)
      weights = hn::Add(weights, ClampedExp(d, hn::Sub(hn::LoadU(d, scores + i), limit)));
    return {hn::GetLane(limit), hn::ReduceSum(d, weights)};
  }

  using D = hn::ScalableTag<float>;
  using Sums = hn::ScalableTag<int32_t>;
  static constexpr size_t kLanes = hn::MaxLanes(D());
  static_assert(kSketchTile % kLanes == 0);
  // Bytes of a key that lie together: as many as a lane has.
  static constexpr size_t kWord = 4;
  static constexpr int kMostCode = 7;
  static constexpr int kZero = 8;

  uint8_t* CodesOf(size_t run) const { return keys_.RunAt(run) + after_; }
  float* ScalesOf(size_t run) const {
    return reinterpret_cast<float*>(CodesOf(run) + kCacheRun / kSketchTile * SketchTileBytes(head_size_));
  }

  // Four codes of a query in each lane.
  static HWY_INLINE ByteInputs Word(const int8_t* codes) {
    int32_t word;
    std::memcpy(&word, codes, sizeof word);
    return hn::BitCast(hn::ScalableTag<int8_t>(), hn::Set(Sums(), word));
  }

  template <size_t kQueries>
  HWY_INLINE void PredictTile(const uint8_t* HWY_RESTRICT codes, const float* HWY_RESTRICT scales, const CodedQuery* queries,
                              float* HWY_RESTRICT scores, size_t stride) const {
    WithByteProducts([&]<class Bytes>(Bytes) HWY_ATTR __attribute__((always_inline)) {
      for (size_t lane = 0; lane < kSketchTile; lane += kLanes)
        PredictLanes<Bytes, kQueries>(codes + lane * kWord, scales + lane, queries, scores + lane, stride);
    });
  }

  template <class Bytes, size_t kQueries>
  HWY_INLINE void PredictLanes(const uint8_t* HWY_RESTRICT codes, const float* HWY_RESTRICT scales, const CodedQuery* queries,
                               float* HWY_RESTRICT scores, size_t stride) const {
    const D d;
    const Sums di;
    const hn::ScalableTag<uint8_t> db;
    const hn::ScalableTag<uint16_t> dpair;
    hn::Vec<D> predicted[kQueries];
#pragma GCC unroll 4
    for (size_t q = 0; q < kQueries; ++q) predicted[q] = hn::Zero(d);
    for (size_t first = 0, part = 0; first < head_size_; first += kCachePart, ++part, scales += kSketchTile) {
      const size_t half = std::min(kCachePart, head_size_ - first) / 2;
      LaneSums sums[kQueries];
#pragma GCC unroll 4
      for (size_t q = 0; q < kQueries; ++q) sums[q] = hn::Set(di, queries[q].starts[part]);
      for (size_t i = 0; i < half; i += kWord, codes += kSketchTile * kWord) {
        const ByteCodes both = hn::LoadU(db, codes);
        const ByteCodes low = hn::And(both, hn::Set(db, uint8_t{15}));
        const ByteCodes high = hn::And(hn::BitCast(db, hn::ShiftRight<4>(hn::BitCast(dpair, both))), hn::Set(db, uint8_t{15}));
#pragma GCC unroll 4
        for (size_t q = 0; q < kQueries; ++q) {
          const int8_t* query = queries[q].codes + first + i;
          sums[q] = Bytes::OfHalves(low, Word(query), high, Word(query + half), sums[q]);
        }
      }
      const auto scale = hn::LoadU(d, scales);
#pragma GCC unroll 4
      for (size_t q = 0; q < kQueries; ++q) {
        const auto products = hn::Mul(hn::ConvertTo(d, sums[q]), scale);
        predicted[q] = hn::MulAdd(products, hn::Set(d, queries[q].factors[part]), predicted[q]);
      }
    }
    const auto most = hn::Set(d, std::numeric_limits<float>::infinity());
#pragma GCC unroll 4
    for (size_t q = 0; q < kQueries; ++q) {
      const auto capped = softcap_ == 0 ? predicted[q] : SoftCapped(d, predicted[q], softcap_);
      hn::StoreU(hn::IfThenElse(hn::IsNaN(capped), most, capped), d, scores + q * stride);
    }
  }

  const HeadCache keys_;
  // Bytes from the start of a run to its sketch.
  const size_t after_;
  const size_t head_size_;
  const size_t parts_;
  const float scale_;
  const float softcap_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
