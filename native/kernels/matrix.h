// How weights are stored. Matrices are neuron-major: one row is all that a neuron needs of the matrix.
#ifndef LACUNA_KERNELS_MATRIX_H_
#define LACUNA_KERNELS_MATRIX_H_

#include <cstddef>
#include <cstdint>

#include "kernels/vocabulary.h"

namespace lacuna {

// fp32, bf16 and fp16: [rows, width]. int8, int6, int5 and int4: codes in rows of blocks of 32 along the width, each with
// a float16 scale, scales [rows, blocks]. A weight is scale * (code - zero point). A last block that is not full is
// stored whole.
// - int8 and int4 are as in MatMulNBits. int8 codes are bytes [rows, blocks, 32]. int4 codes are [rows, blocks, 16], with
//   the even one of two neighbours in the low half of a byte.
// - int6 and int5 are in planes, [rows, bits, blocks * 4]. First come the upper bits, the fifth before the sixth: of the
//   first 16 columns of all blocks, then of the last 16, low bits first. The lower 4 bits follow, 16 bytes a block: byte i
//   has those of column i in its low half and those of column 16 + i in its high half.
// If no zero points are stored, each is the middle code: 128, 32, 16 or 8. Stored ones are bytes [rows, blocks], of which
// 128 is the middle code; but those of int4 are [rows, half of the blocks], with the even block's in the low half of a
// byte.
constexpr size_t kBlock = 32;

// Bits of a code; 0 for floats.
inline constexpr size_t CodeBits(Storage storage) {
  switch (storage) {
    case Storage::kInt8:
      return 8;
    case Storage::kInt6:
      return 6;
    case Storage::kInt5:
      return 5;
    case Storage::kInt4:
      return 4;
    default:
      return 0;
  }
}
inline constexpr bool IsBlocked(Storage storage) { return CodeBits(storage) > 0; }
// Upper bits that are stored as planes.
inline constexpr size_t UpperPlanes(Storage storage) {
  return storage == Storage::kInt6 ? 2 : storage == Storage::kInt5 ? 1 : 0;
}
// Bytes of the codes in a block.
inline constexpr size_t BlockBytes(Storage storage) { return kBlock * CodeBits(storage) / 8; }
inline constexpr size_t Blocks(size_t width) { return (width + kBlock - 1) / kBlock; }
// Bytes of a row.
inline constexpr size_t ScaleBytes(size_t width) { return Blocks(width) * sizeof(uint16_t); }
inline constexpr size_t ZeroPointBytes(Storage storage, size_t width) {
  return storage == Storage::kInt4 ? (Blocks(width) + 1) / 2 : Blocks(width);
}

struct Matrix {
  const void* data = nullptr;
  // For blocks: the bits of float16; zero points only if they are stored.
  const uint16_t* scales = nullptr;
  const uint8_t* zero_points = nullptr;
  // In records: bytes from one row of codes to the next, and the same for scales. Otherwise 0.
  size_t stride = 0;
  size_t scales_stride = 0;
};

// A matrix in blocks as part of records. Without scales if it shares another's.
struct RecordPart {
  Storage storage;
  size_t width;
  bool has_scales = true;

  // Bytes of a row.
  size_t CodeBytes() const { return Blocks(width) * BlockBytes(storage); }
  size_t Bytes() const { return CodeBytes() + (has_scales ? ScaleBytes(width) : 0); }
};

// Rows in blocks of several matrices side by side. A record has all data that are read for one neuron: each matrix'
// codes and then its scales. So a neuron lies in one page or two. The size is whole cache lines.
class RecordLayout {
 public:
  static constexpr size_t kUnit = 64;

  // Adds a matrix.
  void Add(const RecordPart& part) { bytes_ += part.Bytes(); }
  // Bytes of a record, after all matrices are added.
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
