// Keys and values in narrow caches: written from floats, and read back as floats, a run at a time.
#if defined(LACUNA_KERNELS_CACHE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_CACHE_INL_H_
#undef LACUNA_KERNELS_CACHE_INL_H_
#else
#define LACUNA_KERNELS_CACHE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "kernels/cache_format.h"
#include "kernels/rows_ahead-inl.h"
#include "kernels/widened-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One head's keys or values in a narrow format. The size of a head is a multiple of 16.
class NarrowCache {
 public:
  NarrowCache(CacheFormat format, void* start, size_t head_size)
      : format_(format), start_(static_cast<uint8_t*>(start)), head_size_(head_size) {}

  // Stores the entries of a position.
  void Store(size_t position, const float* HWY_RESTRICT from) const {
    uint8_t* run = RunAt(position / kCacheRun);
    const size_t at = position % kCacheRun;
    if (format_ == CacheFormat::kFp16) {
      StoreHalves(from, reinterpret_cast<hwy::float16_t*>(run) + at * head_size_);
    } else {
      int8_t* codes = reinterpret_cast<int8_t*>(run) + at * head_size_;
      float* scales = ScalesOf(run) + at * CacheParts(head_size_);
      for (size_t i = 0; i < head_size_; i += kCachePart)
        *scales++ = StoreCodes(from + i, std::min(kCachePart, head_size_ - i), codes + i);
    }
  }

  // The first `count` positions of a run as floats, [count, head_size]. Fetches the same part of the next run.
  void Widen(size_t index, size_t count, float* HWY_RESTRICT to) const {
    const Floats d;
    uint8_t* run = RunAt(index);
    const size_t bytes = head_size_ * (format_ == CacheFormat::kFp16 ? sizeof(hwy::float16_t) : sizeof(int8_t));
    for (size_t position = 0; position < count; ++position, to += head_size_) {
      const uint8_t* from = run + position * bytes;
      FetchBytes(from + CacheRunBytes(format_, head_size_), bytes);
      if (format_ == CacheFormat::kFp16) {
        const auto* halves = reinterpret_cast<const hwy::float16_t*>(from);
        for (size_t i = 0; i < head_size_; i += hn::Lanes(d))
          hn::StoreU(Widened<hwy::float16_t>(hn::LoadU(hn::Rebind<hwy::float16_t, Floats>(), halves + i)), d, to + i);
      } else {
        const auto* codes = reinterpret_cast<const int8_t*>(from);
        const float* scales = ScalesOf(run) + position * CacheParts(head_size_);
        for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) {
          const FloatVector scale = hn::Set(d, scales[i / kCachePart]);
          const auto wide = hn::PromoteTo(hn::RebindToSigned<Floats>(), hn::LoadU(hn::Rebind<int8_t, Floats>(), codes + i));
          hn::StoreU(hn::Mul(hn::ConvertTo(d, wide), scale), d, to + i);
        }
      }
    }
  }

 private:
  uint8_t* RunAt(size_t index) const { return start_ + index * CacheRunBytes(format_, head_size_); }
  float* ScalesOf(uint8_t* run) const { return reinterpret_cast<float*>(run + kCacheRun * head_size_); }

  void StoreHalves(const float* HWY_RESTRICT from, hwy::float16_t* to) const {
    const Floats d;
    const hn::Rebind<hwy::float16_t, Floats> dhalf;
    for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) hn::StoreU(hn::DemoteTo(dhalf, hn::LoadU(d, from + i)), dhalf, to + i);
  }

  // The largest of `count` entries becomes 127 or -127. Returns the scale, which NaN and infinity make NaN.
  static float StoreCodes(const float* HWY_RESTRICT from, size_t count, int8_t* to) {
    const Floats d;
    auto largest = hn::Zero(d), check = hn::Zero(d);
    for (size_t i = 0; i < count; i += hn::Lanes(d)) {
      const FloatVector values = hn::LoadU(d, from + i);
      largest = hn::Max(largest, hn::Abs(values));
      check = hn::MulAdd(values, hn::Zero(d), check);
    }
    const float limit = hn::ReduceMax(d, largest);
    // Numbers so small that dividing by them overflows count as zeros.
    const auto factor = hn::Set(d, limit > 127 * std::numeric_limits<float>::min() ? 127 / limit : 0);
    for (size_t i = 0; i < count; i += hn::Lanes(d)) {
      const auto codes = hn::NearestInt(hn::Mul(hn::LoadU(d, from + i), factor));
      hn::StoreU(hn::DemoteTo(hn::Rebind<int8_t, Floats>(), codes), hn::Rebind<int8_t, Floats>(), to + i);
    }
    return limit / 127 + hn::ReduceSum(d, check);
  }

  const CacheFormat format_;
  uint8_t* const start_;
  const size_t head_size_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
