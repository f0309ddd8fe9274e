// How weights are stored. Matrices are neuron-major: a row is all that one neuron needs of it.
#ifndef LACUNA_KERNELS_MATRIX_H_
#define LACUNA_KERNELS_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "kernels/vocabulary.h"

namespace lacuna {

// fp32, bf16 and fp16: [rows, width]. int8 and int4: codes as MatMulNBits has them, rows in blocks of 32 along the width, each
// with a float16 scale, scales [rows, blocks]; a weight is scale * (code - zero point). int8 codes are bytes [rows, blocks, 32];
// int4 codes are [rows, blocks, 16], the even one of two neighbours in the low half of a byte. A last block that is not
// full is stored whole. A block's zero point is the middle code, 128 or 8, where none are stored; int8's are bytes
// [rows, blocks], int4's [rows, half of the blocks], the even block's in the low half of a byte.
constexpr size_t kBlock = 32;

inline constexpr bool IsBlocked(Storage storage) { return storage == Storage::kInt8 || storage == Storage::kInt4; }
// Of codes, a block.
inline constexpr size_t BlockBytes(Storage storage) { return storage == Storage::kInt4 ? kBlock / 2 : kBlock; }
inline constexpr size_t Blocks(size_t width) { return (width + kBlock - 1) / kBlock; }
// Of a row.
inline constexpr size_t ScaleBytes(size_t width) { return Blocks(width) * sizeof(uint16_t); }
inline constexpr size_t ZeroPointBytes(Storage storage, size_t width) {
  return storage == Storage::kInt4 ? (Blocks(width) + 1) / 2 : Blocks(width);
}

struct Matrix {
  const void* data = nullptr;
  // Of blocks: the bits of float16, and zero points only where they are stored.
  const uint16_t* scales = nullptr;
  const uint8_t* zero_points = nullptr;
  // Bytes from a row of codes to the next, and of scales, where they are part of records; else 0.
  size_t stride = 0;
  size_t scales_stride = 0;
};

// A matrix in blocks as part of records; without scales where it shares another's.
struct RecordPart {
  Storage storage;
  size_t width;
  bool has_scales = true;

  // Of a row.
  size_t CodeBytes() const { return Blocks(width) * BlockBytes(storage); }
  size_t Bytes() const { return CodeBytes() + (has_scales ? ScaleBytes(width) : 0); }
};

// Rows in blocks of several matrices side by side: a record has all that is read of one neuron, each matrix' codes and then
// its scales, so that it lies in one page or two. Its size is whole cache lines.
class RecordLayout {
 public:
  static constexpr size_t kUnit = 64;

  // A further matrix.
  void Add(const RecordPart& part) { bytes_ += part.Bytes(); }
  // Bytes of a record, when all are added.
  size_t stride() const { return (bytes_ + kUnit - 1) / kUnit * kUnit; }
  // The matrix whose part begins at that byte of each record.
  Matrix At(const void* records, size_t offset, const RecordPart& part) const {
    const uint8_t* codes = static_cast<const uint8_t*>(records) + offset;
    if (!part.has_scales) return {codes, nullptr, nullptr, stride()};
    return {codes, reinterpret_cast<const uint16_t*>(codes + part.CodeBytes()), nullptr, stride(), stride()};
  }

 private:
  size_t bytes_ = 0;
};

// Some of a token's entries.
struct Range {
  size_t first = 0;
  size_t count = 0;
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_MATRIX_H_
