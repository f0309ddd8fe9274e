// Keys and values in caches of every format: written from floats, and read back as floats, a run or a position at a time.
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

// Rounds `count` entries to codes: the largest becomes `most` or -most. Returns the scale, which NaN and infinity make NaN.
HWY_INLINE float CodedPart(const float* HWY_RESTRICT from, size_t count, float most, int8_t* HWY_RESTRICT to) {
  const Floats d;
  auto largest = hn::Zero(d), check = hn::Zero(d);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const FloatVector values = hn::LoadU(d, from + i);
    largest = hn::Max(largest, hn::Abs(values));
    check = hn::MulAdd(values, hn::Zero(d), check);
  }
  const float limit = hn::ReduceMax(d, largest);
  // Numbers so small that dividing by them overflows count as zeros.
  const auto factor = hn::Set(d, limit > 127 * std::numeric_limits<float>::min() ? most / limit : 0);
  for (size_t i = 0; i < count; i += hn::Lanes(d)) {
    const auto codes = hn::NearestInt(hn::Mul(hn::LoadU(d, from + i), factor));
    hn::StoreU(hn::DemoteTo(hn::Rebind<int8_t, Floats>(), codes), hn::Rebind<int8_t, Floats>(), to + i);
  }
  return limit / most + hn::ReduceSum(d, check);
}

// One head's keys or values, in runs of which each begins `run_bytes` after the one before. The size of a head is a multiple of
// 16.
class HeadCache {
 public:
  HeadCache(CacheFormat format, void* start, size_t head_size, size_t run_bytes)
      : format_(format), start_(static_cast<uint8_t*>(start)), head_size_(head_size), run_bytes_(run_bytes) {}

  uint8_t* RunAt(size_t index) const { return start_ + index * run_bytes_; }

  // Stores the entries of a position.
  void Store(size_t position, const float* HWY_RESTRICT from) const {
    uint8_t* to = EntriesAt(position);
    if (format_ == CacheFormat::kFp32) {
      std::copy_n(from, head_size_, reinterpret_cast<float*>(to));
    } else if (format_ == CacheFormat::kFp16) {
      StoreHalves(from, reinterpret_cast<hwy::float16_t*>(to));
    } else {
      auto* codes = reinterpret_cast<int8_t*>(to);
      float* scales = ScalesAt(position);
      for (size_t i = 0; i < head_size_; i += kCachePart)
        *scales++ = CodedPart(from + i, std::min(kCachePart, head_size_ - i), 127, codes + i);
    }
  }

  // The first `count` positions of a run as floats, [count, head_size]. Fetches the same part of the next run.
  void Widen(size_t index, size_t count, float* HWY_RESTRICT to) const {
    for (size_t at = 0; at < count; ++at, to += head_size_) {
      const size_t position = index * kCacheRun + at;
      FetchBytes(EntriesAt(position) + run_bytes_, EntryBytes());
      WidenPosition(position, to);
    }
  }

  // The entries of a position as floats.
  HWY_INLINE void WidenPosition(size_t position, float* HWY_RESTRICT to) const {
    const Floats d;
    const uint8_t* from = EntriesAt(position);
    if (format_ == CacheFormat::kFp32) {
      const auto* floats = reinterpret_cast<const float*>(from);
      for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) hn::StoreU(hn::LoadU(d, floats + i), d, to + i);
    } else if (format_ == CacheFormat::kFp16) {
      const auto* halves = reinterpret_cast<const hwy::float16_t*>(from);
      for (size_t i = 0; i < head_size_; i += hn::Lanes(d))
        hn::StoreU(Widened<hwy::float16_t>(hn::LoadU(hn::Rebind<hwy::float16_t, Floats>(), halves + i)), d, to + i);
    } else {
      const auto* codes = reinterpret_cast<const int8_t*>(from);
      const float* scales = ScalesAt(position);
      for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) {
        const FloatVector scale = hn::Set(d, scales[i / kCachePart]);
        const auto wide = hn::PromoteTo(hn::RebindToSigned<Floats>(), hn::LoadU(hn::Rebind<int8_t, Floats>(), codes + i));
        hn::StoreU(hn::Mul(hn::ConvertTo(d, wide), scale), d, to + i);
      }
    }
  }

  // Asks for the entries of a position.
  HWY_INLINE void Fetch(size_t position) const {
    FetchBytes(EntriesAt(position), EntryBytes());
    if (format_ == CacheFormat::kInt8) hwy::Prefetch(ScalesAt(position));
  }

 private:
  // Bytes of a position's entries, without scales.
  size_t EntryBytes() const {
    switch (format_) {
      case CacheFormat::kFp32:
        return head_size_ * sizeof(float);
      case CacheFormat::kFp16:
        return head_size_ * sizeof(hwy::float16_t);
      case CacheFormat::kInt8:
        return head_size_;
    }
    return 0;
  }
  uint8_t* EntriesAt(size_t position) const {
    return RunAt(position / kCacheRun) + position % kCacheRun * EntryBytes();
  }
  float* ScalesAt(size_t position) const {
    return reinterpret_cast<float*>(RunAt(position / kCacheRun) + kCacheRun * head_size_) +
           position % kCacheRun * CacheParts(head_size_);
  }

  void StoreHalves(const float* HWY_RESTRICT from, hwy::float16_t* to) const {
    const Floats d;
    const hn::Rebind<hwy::float16_t, Floats> dhalf;
    for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) hn::StoreU(hn::DemoteTo(dhalf, hn::LoadU(d, from + i)), dhalf, to + i);
  }

  const CacheFormat format_;
  uint8_t* const start_;
  const size_t head_size_;
  const size_t run_bytes_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
