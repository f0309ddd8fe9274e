#include "ops/decoder_inputs.h"

#include "kernels/limits.h"
#include "ops/vocabulary.h"

namespace lacuna {

namespace {

// [rows, size of a row], or the same number in one dimension.
void ExpectRows(const ort::Call& call, const std::string& name, const ort::Tensor& tensor, int64_t rows, int64_t of_a_row) {
  if (!(tensor.shape == ort::Shape{rows * of_a_row})) call.Expect(name.c_str(), tensor, {rows, of_a_row});
}

}  // namespace

Storage BlockStorageOf(const ort::Node& node) {
  const auto storage = node.Word<Storage>(attribute::kStorage, kStorageNames);
  if (!IsBlocked(storage))
    throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + node.op_type() + ": expected a storage of blocks for attribute storage");
  return storage;
}

BlockMatrix BlockMatrixOf(const ort::Call& call, const std::string& name, const BlockTensors& tensors, Storage storage,
                          size_t columns, int64_t most_rows) {
  const auto& [codes, scales, zero_points, bias] = tensors;
  if (!codes.given()) call.Refuse("input " + name + " is missing");
  if (codes.type != ElementType(storage)) call.Refuse("input " + name + " is no uint8 codes");
  const int64_t rows = codes.shape.rank() == 3 ? codes.shape[0] : 0;
  const auto blocks = static_cast<int64_t>(Blocks(columns));
  call.Expect(name.c_str(), codes, CodesShape(storage, rows, blocks));
  call.ExpectSize(("rows of input " + name).c_str(), rows, most_rows);
  ExpectRows(call, name + "_scales", scales, rows, blocks);
  if (zero_points.given())
    ExpectRows(call, name + "_zero_points", zero_points, rows, static_cast<int64_t>(ZeroPointBytes(storage, columns)));
  if (bias.given()) call.Expect((name + "_bias").c_str(), bias, {rows});
  return {{codes.data, scales.As<uint16_t>(), zero_points.As<uint8_t>()}, static_cast<size_t>(rows), columns, bias.As<float>()};
}

BlockMatrix RowsOf(const BlockMatrix& matrix, Storage storage, size_t first, size_t count) {
  const Matrix& stored = matrix.stored;
  const size_t blocks = Blocks(matrix.columns);
  const size_t zero_bytes = ZeroPointBytes(storage, matrix.columns);
  return {{static_cast<const uint8_t*>(stored.data) + first * blocks * BlockBytes(storage), stored.scales + first * blocks,
           stored.zero_points == nullptr ? nullptr : stored.zero_points + first * zero_bytes},
          count,
          matrix.columns,
          matrix.bias == nullptr ? nullptr : matrix.bias + first};
}

RmsNorm NormOf(const ort::Call& call, const char* name, const ort::Tensor& weight, int64_t size, float epsilon) {
  if (!weight.given()) return {};
  call.Expect(name, weight, {size});
  return {weight.As<float>(), epsilon};
}

Stream StreamOf(const ort::Call& call, const ort::Tensor& x, const ort::Tensor& skip) {
  if (x.shape.rank() != 3) call.Refuse("expected [b, s, h] for input x but received " + x.shape.Text());
  if (skip.given()) call.Expect("skip", skip, x.shape);
  call.ExpectSize("entries a token of input x", x.shape[2], kMostHidden);
  const size_t tokens = ort::Shape{x.shape[0], x.shape[1]}.elements();
  if (tokens > static_cast<size_t>(kMostTokens))
    call.Refuse("expected at most " + std::to_string(kMostTokens) + " tokens but received " + std::to_string(tokens));
  Stream stream;
  stream.tokens = tokens;
  stream.x = x.As<float>();
  stream.skip = skip.given() ? skip.As<float>() : nullptr;
  return stream;
}

int64_t TotalLengthOf(const ort::Call& call, const ort::Tensor& given, int64_t tokens, int64_t positions) {
  if (!given.given() || given.shape.elements() != 1) call.Refuse("expected one number for input total_sequence_length");
  const int64_t total = *given.As<int32_t>();
  if (total < tokens)
    call.Refuse("expected at least " + std::to_string(tokens) + ", the new tokens, for input total_sequence_length but received " +
                std::to_string(total));
  if (total > positions)
    call.Refuse(std::to_string(total) + " tokens in all do not fit " + std::to_string(positions) + " positions");
  return total;
}

std::vector<size_t> SeenTokens(const ort::Call& call, const ort::Tensor& seqlens, const CacheRoom& room) {
  const auto& [rows, tokens, total, positions, past, capacity] = room;
  if (!seqlens.given() || seqlens.shape.elements() != static_cast<size_t>(rows))
    call.Refuse("expected [" + std::to_string(rows) + "] for input seqlens_k but received " + seqlens.shape.Text());
  // GroupQueryAttention refuses this too: in rows padded on the right, their own lengths no longer say where a past
  // ends.
  if (rows > 1 && tokens > 1 && tokens != total)
    call.Refuse("several tokens after a past are taken in one row, not in " + std::to_string(rows));
  std::vector<size_t> seen;
  for (int64_t row = 0; row < rows; ++row) {
    // A prompt starts from nothing, even if its row is padded on the right.
    const int64_t before = tokens == total ? 0 : seqlens.As<int32_t>()[row] + int64_t{1} - tokens;
    const int64_t end = before + tokens;
    if (before < 0 || before > past || end > capacity || end > positions)
      call.Refuse(std::to_string(tokens) + " tokens after " + std::to_string(before) + " do not fit a past of " +
                  std::to_string(past) + ", a cache of " + std::to_string(capacity) + " and " + std::to_string(positions) +
                  " positions");
    seen.push_back(static_cast<size_t>(before));
  }
  return seen;
}

}  // namespace lacuna
