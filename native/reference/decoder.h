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
Row Times(Storage storage, const BlockMatrix& matrix, const Row& coded);

Row NormProductOf(const NormProduct& part, const Row& stream);
Row NormFfnOf(const NormFfn& part, const Row& stream);

// A token's queries, keys and values, [heads * head size] each, at a position.
struct Projected {
  Row queries;
  Row keys;
  Row values;
};
Projected ProjectedOf(const NormAttention& part, const Row& stream, size_t position);

// The attention of a token's queries to the keys and values of all positions up to its own.
Row AttendedOf(const NormAttention& part, const Row& queries, const std::vector<Row>& keys, const std::vector<Row>& values);

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_DECODER_H_
