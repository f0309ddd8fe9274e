// Inputs in the form that products with blocks take: entries rounded to codes of 8 bits, -127 to 127, with a scale for
// each block of 32.
#ifndef LACUNA_KERNELS_CODED_INPUT_H_
#define LACUNA_KERNELS_CODED_INPUT_H_

#include <cstddef>
#include <cstdint>

#include "kernels/matrix.h"
#include "kernels/phases.h"
#include "kernels/scratch.h"

namespace lacuna {

// Blocks of an input, with room for what the widest vector reads past the end: 16 scales at a time.
inline constexpr size_t PaddedBlocks(size_t width) { return DivideUp(Blocks(width), 16) * 16; }

// The input of one token. A lane is the factor of four bytes of weights, without upper planes: 4 codes for int8, 8 for the
// others.
struct CodedInput {
  // In the order in which weights are unpacked.
  int8_t* codes;
  // The start of a lane's sum of products: the contribution of the codes' zero, with the sign changed.
  int32_t* starts;
  // For each block, the scale and the sum of its coded entries. Both are zero past the last block.
  float* scales;
  float* sums;
};

// The inputs of several tokens, one after the other.
class CodedTokens {
 public:
  static constexpr size_t kLanesOf(Storage storage) { return storage == Storage::kInt8 ? 8 : 4; }

  CodedTokens(Storage storage, size_t width, size_t tokens, ScratchLayout& layout)
      : codes_(layout.Array<int8_t>(tokens, PaddedBlocks(width), kBlock)),
        starts_(layout.Array<int32_t>(tokens, PaddedBlocks(width), kLanesOf(storage))),
        scales_(layout.Array<float>(tokens, PaddedBlocks(width))),
        sums_(layout.Array<float>(tokens, PaddedBlocks(width))),
        blocks_(PaddedBlocks(width)),
        lanes_(kLanesOf(storage)) {}

  CodedInput At(size_t token) const {
    const size_t block = token * blocks_;
    return {codes_ + block * kBlock, starts_ + block * lanes_, scales_ + block, sums_ + block};
  }

 private:
  int8_t* codes_;
  int32_t* starts_;
  float* scales_;
  float* sums_;
  size_t blocks_;
  size_t lanes_;
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_CODED_INPUT_H_
