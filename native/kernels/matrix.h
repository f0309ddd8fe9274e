// How weights are stored. Matrices are neuron-major: a row is all that one neuron needs of it.
#ifndef LACUNA_KERNELS_MATRIX_H_
#define LACUNA_KERNELS_MATRIX_H_

#include <cstddef>
#include <cstdint>

namespace lacuna {

// fp32, bf16 and fp16: [rows, width]. int8 and int4: as MatMulNBits has them, rows in blocks of 32 along the width, each with a
// float scale, scales [rows, blocks]; a weight is scale * (code - zero point). int8 codes are bytes [rows, blocks, 32];
// int4 codes are [rows, blocks, 16], the even one of two neighbours in the low half of a byte. A last block that is not
// full is stored whole. A block's zero point is the middle code, 128 or 8, where none are stored; int8's are bytes
// [rows, blocks], int4's [rows, half of the blocks], the even block's in the low half of a byte.
enum class Storage { kFp32, kBf16, kFp16, kInt8, kInt4 };

constexpr size_t kBlock = 32;

inline constexpr bool IsBlocked(Storage storage) { return storage == Storage::kInt8 || storage == Storage::kInt4; }
inline constexpr size_t Blocks(size_t width) { return (width + kBlock - 1) / kBlock; }
// Of a row.
inline constexpr size_t ZeroPointBytes(Storage storage, size_t width) {
  return storage == Storage::kInt4 ? (Blocks(width) + 1) / 2 : Blocks(width);
}

struct Matrix {
  const void* data = nullptr;
  // Of blocks; zero points only where they are stored.
  const float* scales = nullptr;
  const uint8_t* zero_points = nullptr;
};

// Some of a token's entries.
struct Range {
  size_t first = 0;
  size_t count = 0;
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_MATRIX_H_
