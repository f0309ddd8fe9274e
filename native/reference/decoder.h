// The parts of decoder.h in plain loops. Each number has a bound for the error of float arithmetic.
//
// Rounding to 8 bits gives another code if float arithmetic falls on the other side of a tie. Only where that can
// happen, a number's error is a whole step.
#ifndef LACUNA_REFERENCE_DECODER_H_
#define LACUNA_REFERENCE_DECODER_H_

#include <cstddef>
#include <vector>

#include "kernels/decoder.h"

namespace lacuna::reference {

struct Bounded {
  double value = 0;
  double error = 0;
};

using Row = std::vector<Bounded>;

Row Exact(const float* values, size_t count);
// Sums of two rows.
Row Add(const Row& a, const Row& b);
Row Normed(const RmsNorm& norm, const Row& x);
// Entries rounded to codes, a block of 32 at a time.
Row Coded(const Row& x);
// A matrix as numbers. Reading them out of codes takes as long as a product, so all tokens share them.
class Numbers {
 public:
  Numbers(Storage storage, const BlockMatrix& matrix);
  Row Times(const Row& coded) const;

 private:
  size_t rows_, columns_;
  const float* bias_;
  // Both [rows * columns]: entries, and what bounds the error of a product with each.
  std::vector<double> entries_, sizes_;
};

Row NormProductOf(const NormProduct& part, const Numbers& weight, const Row& stream);

struct FfnNumbers {
  explicit FfnNumbers(const NormFfn& part);
  Numbers gate, up, down;
};
Row NormFfnOf(const NormFfn& part, const FfnNumbers& numbers, const Row& stream);

struct AttentionNumbers {
  explicit AttentionNumbers(const NormAttention& part);
  Numbers query, key, value, output;
};
// A token's queries, keys and values, [heads * head size] each, at a position.
struct Projected {
  Row queries;
  Row keys;
  Row values;
};
Projected ProjectedOf(const NormAttention& part, const AttentionNumbers& numbers, const Row& stream, size_t position);

// The attention of a token's queries to the keys and values of all positions up to its own.
Row AttendedOf(const NormAttention& part, const AttentionNumbers& numbers, const Row& queries, const std::vector<Row>& keys,
               const std::vector<Row>& values);

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_DECODER_H_
