// How weights are stored. Matrices are neuron-major: a row is all that one neuron needs of it.
#ifndef LACUNA_KERNELS_MATRIX_H_
#define LACUNA_KERNELS_MATRIX_H_

#include <cstddef>
#include <cstdint>

namespace lacuna {

// fp32, bf16 and fp16: [rows, width]. int8 and int4: as MatMulNBits has them, rows in blocks of 32 along the width, each with a
// float scale, scales [rows, blocks]; a weight is scale * (code - 128 or 8). int8 codes are bytes [rows, blocks, 32];
// int4 codes are [rows, blocks, 16], the even one of two neighbours in the low half of a byte. A last block that is not
// full is stored whole.
enum class Storage { kFp32, kBf16, kFp16, kInt8, kInt4 };

constexpr size_t kBlock = 32;

inline constexpr bool IsBlocked(Storage storage) { return storage == Storage::kInt8 || storage == Storage::kInt4; }
inline constexpr size_t Blocks(size_t width) { return (width + kBlock - 1) / kBlock; }

struct Matrix {
  const void* data = nullptr;
  // Of blocks.
  const float* scales = nullptr;
};

// Some of a token's entries.
struct Range {
  size_t first = 0;
  size_t count = 0;
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_MATRIX_H_
