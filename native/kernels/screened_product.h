// A head of which only the largest logits are wanted: products by four bits of each weight say which rows may be among them,
// and those alone are multiplied by all eight.
#ifndef LACUNA_KERNELS_SCREENED_PRODUCT_H_
#define LACUNA_KERNELS_SCREENED_PRODUCT_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernels/decoder.h"

namespace lacuna {

// What is known beforehand of a weight in int8. A code c is 16 u + r with u the nearest that four bits hold, so r is from -8 to
// 7, and up to 15 beside the largest codes. By u alone a weight s (c - zero) is s 16 (u - zero / 16), off by s r.
class Screen {
 public:
  // Of `weight`, which has to stay where it is.
  Screen(const BlockMatrix& weight, const Parallel& parallel);

  const BlockMatrix& weight() const { return weight_; }
  // The u, with the weight's own scales and zero points: rows in int4, a sixteenth of what is near the weight's.
  const BlockMatrix& upper() const { return upper_; }
  // [rows]: times the length of an input, how far sixteen times a row's product by u is from its product (screened_product.cc).
  const float* margins() const { return margins_.get(); }

 private:
  BlockMatrix weight_;
  std::unique_ptr<uint8_t[]> codes_;
  std::unique_ptr<float[]> margins_;
  BlockMatrix upper_;
};

// Rows of a group. The largest rows are looked for among the largest of each group.
constexpr size_t kScreenedGroup = 64;

// How many may be wanted: a quarter of the groups, as there would be little left to leave out.
inline constexpr size_t MostLargest(size_t rows) { return rows / kScreenedGroup / 4; }

// As RunNormProduct of `part`, whose weight is screen.weight() in int8, in y [tokens, rows] the `largest` of each token, from 1 to MostLargest(rows),
// and those that equal the least of them: bit for bit. Others are -infinity, or what RunNormProduct gives.
// Returns how many products it computed.
size_t RunScreenedProduct(const NormProduct& part, const Screen& screen, size_t largest, const Stream& stream, float* y,
                          Scratch& scratch, const Parallel& parallel);

}  // namespace lacuna

#endif  // LACUNA_KERNELS_SCREENED_PRODUCT_H_
