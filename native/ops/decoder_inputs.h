// What the operators of decoder parts share: weights in blocks and norms.
#ifndef LACUNA_OPS_DECODER_INPUTS_H_
#define LACUNA_OPS_DECODER_INPUTS_H_

#include <string>
#include <utility>

#include "kernels/decoder.h"
#include "ops/ffn_node.h"
#include "ops/ort.h"

namespace lacuna {

// Attribute `storage` of operators whose weights are in blocks; throws for another.
Storage BlockStorageOf(const ort::Node& node);

// A matrix as MatMulNBits has it, in blocks of 32: codes uint8 [rows, blocks, 16 or 32], scales float16 [rows, blocks], zero
// points where they are stored, uint8 [rows, bytes of a row's]; scales and zero points may be as many in one dimension. And a
// bias float [rows], where there is one.
struct BlockTensors {
  ort::Tensor codes;
  ort::Tensor scales;
  ort::Tensor zero_points;
  ort::Tensor bias;
};
BlockMatrix BlockMatrixOf(const ort::Call& call, const std::string& name, const BlockTensors& tensors, Storage storage,
                          size_t columns, int64_t most_rows);

// Some of a matrix' rows.
BlockMatrix RowsOf(const BlockMatrix& matrix, Storage storage, size_t first, size_t count);

// A norm's weight of `size` entries; none where the input is not given.
RmsNorm NormOf(const ort::Call& call, const char* name, const ort::Tensor& weight, int64_t size, float epsilon);

// x, and skip where it is given, as [b, s, h]; throws where kernels cannot count that many tokens or entries.
Stream StreamOf(const ort::Call& call, const ort::Tensor& x, const ort::Tensor& skip);

}  // namespace lacuna

#endif  // LACUNA_OPS_DECODER_INPUTS_H_
