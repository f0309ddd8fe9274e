// How keys and values of past tokens are stored.
#ifndef LACUNA_KERNELS_CACHE_FORMAT_H_
#define LACUNA_KERNELS_CACHE_FORMAT_H_

#include <cstddef>
#include <cstdint>

namespace lacuna {

// fp32: [positions, head_size], as ONNX Runtime's own attention has it. The others are narrower. Their positions lie in runs of
// 64, run after run:
// - fp16: [64, head_size] float16.
// - int8: [64, head_size] codes from -127 to 127, then [64, parts of a head] float32 scales. A part has 64 entries, the last one
//   perhaps fewer. An entry is its code times its part's scale.
enum class CacheFormat { kFp32, kFp16, kInt8 };

inline constexpr size_t kCacheRun = 64;
// Entries that share a scale. In wide heads few entries are much larger than the others: with a scale for each head of
// Gemma-3-270M, which has 256, rounding costs more than twice as much.
inline constexpr size_t kCachePart = 64;

constexpr size_t CacheParts(size_t head_size) { return (head_size + kCachePart - 1) / kCachePart; }

// Bytes of a run of one head. Whole cache lines, since a head has at least 16 entries.
constexpr size_t CacheRunBytes(CacheFormat format, size_t head_size) {
  switch (format) {
    case CacheFormat::kFp32:
      return kCacheRun * head_size * sizeof(float);
    case CacheFormat::kFp16:
      return kCacheRun * head_size * sizeof(uint16_t);
    case CacheFormat::kInt8:
      return kCacheRun * (head_size + CacheParts(head_size) * sizeof(float));
  }
  return 0;
}

// Positions of a head that fit where `capacity` of fp32 do.
constexpr size_t CachePositions(CacheFormat format, size_t capacity, size_t head_size) {
  if (format == CacheFormat::kFp32) return capacity;
  return capacity * head_size * sizeof(float) / CacheRunBytes(format, head_size) * kCacheRun;
}

// The least capacity, counted in positions of fp32, that has room for `positions`.
constexpr size_t CacheCapacity(CacheFormat format, size_t positions, size_t head_size) {
  if (format == CacheFormat::kFp32) return positions;
  const size_t runs = (positions + kCacheRun - 1) / kCacheRun, row = head_size * sizeof(float);
  return (runs * CacheRunBytes(format, head_size) + row - 1) / row;
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_CACHE_FORMAT_H_
