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

// A vector of a row of entries, from entry i on. Codes are as they are, without their scale.
template <CacheFormat kFormat>
HWY_INLINE FloatVector Entries(const uint8_t* row, size_t i) {
  const Floats d;
  if constexpr (kFormat == CacheFormat::kFp32) {
    return hn::LoadU(d, reinterpret_cast<const float*>(row) + i);
  } else if constexpr (kFormat == CacheFormat::kFp16) {
    const auto* halves = reinterpret_cast<const hwy::float16_t*>(row);
    return Widened<hwy::float16_t>(hn::LoadU(hn::Rebind<hwy::float16_t, Floats>(), halves + i));
  } else {
    const auto codes = hn::LoadU(hn::Rebind<int8_t, Floats>(), reinterpret_cast<const int8_t*>(row) + i);
    return hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<Floats>(), codes));
  }
}

// Keys or values of a run, as they are stored. Read as floats, vector by vector.
template <CacheFormat kFormat>
struct StoredRows {
  HWY_INLINE FloatVector operator()(size_t position, size_t i) const {
    const FloatVector entries = Entries<kFormat>(start + position * bytes, i);
    if constexpr (kFormat == CacheFormat::kInt8)
      return hn::Mul(entries, hn::Set(Floats(), scales[position * parts + i / kCachePart]));
    return entries;
  }
  // Asks for the same entries of the next run. A cache in fp32 needs no request: the processor reads ahead by itself.
  HWY_INLINE void Fetch(size_t position, size_t i, size_t count) const {
    constexpr size_t kBytes = kFormat == CacheFormat::kInt8 ? sizeof(int8_t) : sizeof(hwy::float16_t);
    if constexpr (kFormat != CacheFormat::kFp32) FetchBytes(start + run_bytes + position * bytes + i * kBytes, count * kBytes);
  }

  const uint8_t* start;
  // Of a position, and from a run to the next.
  size_t bytes;
  size_t run_bytes;
  const float* scales;
  size_t parts;
};

// One head's keys or values, in runs of which each begins `run_bytes` after the one before. The size of a head is a multiple of
// 16.
class HeadCache {
 public:
  HeadCache(CacheFormat format, void* start, size_t head_size, size_t run_bytes)
      : format_(format), start_(static_cast<uint8_t*>(start)), head_size_(head_size), run_bytes_(run_bytes) {}

  CacheFormat format() const { return format_; }
  uint8_t* RunAt(size_t index) const { return start_ + index * run_bytes_; }

  // The format is the cache's own.
  template <CacheFormat kFormat>
  StoredRows<kFormat> RowsOf(size_t run) const {
    return {RunAt(run), head_size_ * EntryBytes(kFormat), run_bytes_, ScalesAt(run * kCacheRun), CacheParts(head_size_)};
  }

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
      FetchBytes(EntriesAt(position) + run_bytes_, head_size_ * EntryBytes(format_));
      WidenPosition(position, to);
    }
  }

  // The entries of a position as floats.
  HWY_INLINE void WidenPosition(size_t position, float* HWY_RESTRICT to) const {
    const Floats d;
    const uint8_t* from = EntriesAt(position);
    if (format_ == CacheFormat::kFp32) {
      for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) hn::StoreU(Entries<CacheFormat::kFp32>(from, i), d, to + i);
    } else if (format_ == CacheFormat::kFp16) {
      for (size_t i = 0; i < head_size_; i += hn::Lanes(d)) hn::StoreU(Entries<CacheFormat::kFp16>(from, i), d, to + i);
    } else {
      const float* scales = ScalesAt(position);
      for (size_t i = 0; i < head_size_; i += hn::Lanes(d))
        hn::StoreU(hn::Mul(Entries<CacheFormat::kInt8>(from, i), hn::Set(d, scales[i / kCachePart])), d, to + i);
    }
  }

  // The products of a position's entries with as many others, lane by lane: what they add up to is the sum of the lanes. The
  // format is the cache's own.
  template <CacheFormat kFormat>
  HWY_INLINE FloatVector Products(size_t position, const float* HWY_RESTRICT with) const {
    const Floats d;
    const uint8_t* row = EntriesAt<kFormat>(position);
    const float* scales = kFormat == CacheFormat::kInt8 ? ScalesAt(position) : nullptr;
    FloatVector sums = hn::Zero(d);
    const auto add = [&](size_t first, size_t size) HWY_ATTR {
      FloatVector part = hn::Zero(d);
#pragma GCC unroll 4
      for (size_t i = first; i < first + size; i += hn::Lanes(d))
        part = hn::MulAdd(hn::LoadU(d, with + i), Entries<kFormat>(row, i), part);
      sums = scales == nullptr ? hn::Add(sums, part) : hn::MulAdd(part, hn::Set(d, scales[first / kCachePart]), sums);
    };
    size_t first = 0;
    for (; first + kCachePart <= head_size_; first += kCachePart) add(first, kCachePart);
    if (first < head_size_) add(first, head_size_ - first);
    return sums;
  }

  // Adds kVectors vectors of a position's entries, from entry i on, times `weight`. They are of one part.
  template <CacheFormat kFormat, size_t kVectors>
  HWY_INLINE void AddEntries(size_t position, size_t i, float weight, FloatVector* sums) const {
    const Floats d;
    const uint8_t* row = EntriesAt<kFormat>(position);
    const float scale = kFormat == CacheFormat::kInt8 ? ScalesAt(position)[i / kCachePart] : 1.0f;
    const FloatVector factor = hn::Set(d, kFormat == CacheFormat::kInt8 ? weight * scale : weight);
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v)
      sums[v] = hn::MulAdd(factor, Entries<kFormat>(row, i + v * hn::Lanes(d)), sums[v]);
  }

  // Asks for the entries of a position.
  template <CacheFormat kFormat>
  HWY_INLINE void Fetch(size_t position) const {
    FetchBytes(EntriesAt<kFormat>(position), head_size_ * EntryBytes(kFormat));
    if constexpr (kFormat == CacheFormat::kInt8) FetchLine(ScalesAt(position));
  }

 private:
  // Bytes of an entry, without scales.
  static constexpr size_t EntryBytes(CacheFormat format) {
    return format == CacheFormat::kFp32 ? sizeof(float) : format == CacheFormat::kFp16 ? sizeof(hwy::float16_t) : sizeof(int8_t);
  }
  uint8_t* EntriesAt(size_t position) const {
    return RunAt(position / kCacheRun) + position % kCacheRun * head_size_ * EntryBytes(format_);
  }
  template <CacheFormat kFormat>
  HWY_INLINE const uint8_t* EntriesAt(size_t position) const {
    return RunAt(position / kCacheRun) + position % kCacheRun * head_size_ * EntryBytes(kFormat);
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
