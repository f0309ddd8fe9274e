// Shared by the operators of decoder parts: weights in blocks and norms.
#ifndef LACUNA_OPS_DECODER_INPUTS_H_
#define LACUNA_OPS_DECODER_INPUTS_H_

#include <string>
#include <utility>
#include <vector>

#include "kernels/decoder.h"
#include "ops/ffn_node.h"
#include "ops/ort.h"

namespace lacuna {

// Attribute `storage` of operators with weights in blocks. Throws for another storage.
Storage BlockStorageOf(const ort::Node& node);

// A matrix as in MatMulNBits, in blocks of 32: codes uint8 [rows, blocks, 16 or 32], scales float16 [rows, blocks], and
// if stored, zero points uint8 [rows, bytes of a row]. Scales and zero points may also be in one dimension. And a bias
// float [rows], if there is one.
struct BlockTensors {
  ort::Tensor codes;
  ort::Tensor scales;
  ort::Tensor zero_points;
  ort::Tensor bias;
};
BlockMatrix BlockMatrixOf(const ort::Call& call, const std::string& name, const BlockTensors& tensors, Storage storage,
                          size_t columns, int64_t most_rows);

// Some rows of a matrix.
BlockMatrix RowsOf(const BlockMatrix& matrix, Storage storage, size_t first, size_t count);

// A norm's weight of `size` entries; none if the input is missing.
RmsNorm NormOf(const ort::Call& call, const char* name, const ort::Tensor& weight, int64_t size, float epsilon);

// x, and skip if present, as [b, s, h]. Throws if there are more tokens or entries than kernels can count.
Stream StreamOf(const ort::Call& call, const ort::Tensor& x, const ort::Tensor& skip);

// Input total_sequence_length. At most the number of positions, as in GroupQueryAttention: the caches are made for it.
int64_t TotalLengthOf(const ort::Call& call, const ort::Tensor& given, int64_t tokens, int64_t positions);

// What a call's caches have room for: a past of `past` tokens, and `capacity` in all.
struct CacheRoom {
  int64_t rows;
  int64_t tokens;
  int64_t total;
  int64_t positions;
  int64_t past;
  int64_t capacity;
};

// Tokens of each row that were seen before, by input seqlens_k, which counts all tokens but one of the present ones.
std::vector<size_t> SeenTokens(const ort::Call& call, const ort::Tensor& seqlens, const CacheRoom& room);

}  // namespace lacuna

#endif  // LACUNA_OPS_DECODER_INPUTS_H_
