#include "ops/decoder_inputs.h"

namespace lacuna {

BlockMatrix BlockMatrixOf(const ort::Call& call, const std::string& name, const ort::Tensor& codes, const ort::Tensor& scales,
                          Storage storage, size_t columns) {
  if (!codes.given()) call.Refuse("input " + name + " is missing");
  const int64_t rows = codes.shape.rank() == 3 ? codes.shape[0] : 0;
  const auto blocks = static_cast<int64_t>(Blocks(columns));
  call.Expect(name.c_str(), codes, {rows, blocks, storage == Storage::kInt4 ? 16 : 32});
  const std::string scales_name = name + "_scales";
  if (!(scales.shape == ort::Shape{rows * blocks})) call.Expect(scales_name.c_str(), scales, {rows, blocks});
  return {{codes.data, scales.As<float>()}, static_cast<size_t>(rows), columns};
}

BlockMatrix RowsOf(const BlockMatrix& matrix, Storage storage, size_t first, size_t count) {
  const size_t blocks = Blocks(matrix.columns);
  const size_t bytes = blocks * (storage == Storage::kInt4 ? kBlock / 2 : kBlock);
  return {{static_cast<const uint8_t*>(matrix.stored.data) + first * bytes, matrix.stored.scales + first * blocks},
          count,
          matrix.columns};
}

RmsNorm NormOf(const ort::Call& call, const char* name, const ort::Tensor& weight, int64_t size, float epsilon) {
  if (!weight.given()) return {};
  call.Expect(name, weight, {size});
  return {weight.As<float>(), epsilon};
}

Stream StreamOf(const ort::Call& call, const ort::Tensor& x, const ort::Tensor& skip) {
  if (x.shape.rank() != 3) call.Refuse("expected [b, s, h] for input x but received " + x.shape.Text());
  if (skip.given()) call.Expect("skip", skip, x.shape);
  Stream stream;
  stream.tokens = static_cast<size_t>(x.shape[0]) * static_cast<size_t>(x.shape[1]);
  stream.x = x.As<float>();
  stream.skip = skip.given() ? skip.As<float>() : nullptr;
  return stream;
}

}  // namespace lacuna
