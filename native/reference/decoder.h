// The parts of decoder.h in plain loops, each number with how far float arithmetic may be from it.
//
// What is rounded to 8 bits is rounded to another code where float falls on the other side of a tie. Where that can be, and
// only there, a number's error is a whole step.
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

// What a token's queries make of the keys and values of all positions up to its own.
Row AttendedOf(const NormAttention& part, const Row& queries, const std::vector<Row>& keys, const std::vector<Row>& values);

}  // namespace lacuna::reference

#endif  // LACUNA_REFERENCE_DECODER_H_
