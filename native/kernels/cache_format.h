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

// The keys of a cache whose queries attend to few tokens (few_keys-inl.h) also lie in runs, in every format. Each run of keys is
// followed by its sketch:
// - [4, head_size / 8, 16, 4] bytes: the keys in 4 bits, from 1 to 15 with 8 as zero. Tile by tile of 16 keys there are four
//   bytes of each key, then the next four. In a part of `size` entries, byte 4 i + j holds entry 4 i + j in its lower half, and
//   entry size / 2 + 4 i + j in its upper half. So lanes are keys, and their sums are never added across lanes.
// - [4, parts of a head, 16] float32 scales of these codes.
// - [head_size] float32: the sum of the values of this run and of all before it. The values themselves lie in their own cache,
//   which has no sketch.
inline constexpr size_t kSketchTile = 16;

// Tokens that every query attends to: the first of a text, which many heads turn to when nothing else fits, and the newest.
inline constexpr size_t kFirstTokens = 4;
inline constexpr size_t kNewestTokens = 32;
// What is left out counts with this share of the weight that its predicted scores give it, because the mean of all values stands for
// it. Among what is left out, tokens with larger scores have more of the weight, and their values are more like those of the tokens
// attended to.
inline constexpr float kRestShare = 0.5f;
// A token whose predicted weight is below this share of a token's mean weight, which is one of n, is left out in any case. Many
// heads look at few tokens. To leave out the others there loses less than to let every head attend to fewer.
inline constexpr float kLeastShare = 0.3f;
// The fewest tokens that may be attended to: some have to be left to choose.
inline constexpr size_t kLeastAttended = 64;
static_assert(kLeastAttended > kFirstTokens + kNewestTokens);
// Where a token attends to fewer than it sees, it sees a whole run, whose values have a sum.
static_assert(kLeastAttended >= kCacheRun);

// How a cache lies in memory.
struct CacheLayout {
  CacheFormat format = CacheFormat::kFp32;
  // Tokens that a query attends to at most, where one comes at a time; 0: all. Above 0, keys have sketches.
  size_t attended = 0;
  bool operator==(const CacheLayout&) const = default;
};

constexpr size_t CacheParts(size_t head_size) { return (head_size + kCachePart - 1) / kCachePart; }

// Bytes of a run of one head. Whole cache lines, since the size of a head is a multiple of 16.
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

// Bytes of a tile of codes, and of a whole sketch.
constexpr size_t SketchTileBytes(size_t head_size) { return kSketchTile * head_size / 2; }
constexpr size_t SketchBytes(size_t head_size) {
  const size_t codes = kCacheRun / kSketchTile * SketchTileBytes(head_size);
  return codes + (kCacheRun * CacheParts(head_size) + head_size) * sizeof(float);
}

// The same of keys, with their sketch.
constexpr size_t KeyRunBytes(const CacheLayout& layout, size_t head_size) {
  return CacheRunBytes(layout.format, head_size) + (layout.attended > 0 ? SketchBytes(head_size) : 0);
}

// Whether it is what ONNX Runtime's own attention has.
constexpr bool IsPlain(const CacheLayout& layout) { return layout.format == CacheFormat::kFp32 && layout.attended == 0; }

// Positions of a head that fit where `capacity` of fp32 do.
constexpr size_t CachePositions(const CacheLayout& layout, size_t capacity, size_t head_size) {
  if (IsPlain(layout)) return capacity;
  return capacity * head_size * sizeof(float) / KeyRunBytes(layout, head_size) * kCacheRun;
}

// The least capacity, counted in positions of fp32, that has room for `positions`. Values have as much as keys.
constexpr size_t CacheCapacity(const CacheLayout& layout, size_t positions, size_t head_size) {
  if (IsPlain(layout)) return positions;
  const size_t runs = (positions + kCacheRun - 1) / kCacheRun, row = head_size * sizeof(float);
  return (runs * KeyRunBytes(layout, head_size) + row - 1) / row;
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_CACHE_FORMAT_H_
