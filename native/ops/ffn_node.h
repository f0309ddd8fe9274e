// Shared by operators: inputs by position, weights by storage, and working memory.
#ifndef LACUNA_OPS_FFN_NODE_H_
#define LACUNA_OPS_FFN_NODE_H_

#include <array>
#include <memory>
#include <span>
#include <string>

#include "kernels/gated_ffn.h"
#include "kernels/matrix.h"
#include "ops/ort.h"

namespace lacuna {

// For all kernels of the process. Calls of one session follow each other, so they use one block.
class TakenScratch {
 public:
  TakenScratch();
  ~TakenScratch();
  TakenScratch(const TakenScratch&) = delete;
  TakenScratch& operator=(const TakenScratch&) = delete;
  Scratch& operator*() { return *scratch_; }

 private:
  std::unique_ptr<Scratch> scratch_;
};

// For a matrix in a storage.
constexpr ONNXTensorElementDataType ElementType(Storage storage) {
  switch (storage) {
    case Storage::kFp32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case Storage::kBf16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    case Storage::kFp16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    default:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  }
}

// Of the codes of a matrix in blocks.
inline ort::Shape CodesShape(Storage storage, int64_t rows, int64_t blocks) {
  const auto bytes = static_cast<int64_t>(BlockBytes(storage)), bits = static_cast<int64_t>(CodeBits(storage));
  return UpperPlanes(storage) == 0 ? ort::Shape{rows, blocks, bytes} : ort::Shape{rows, bits, blocks * bytes / bits};
}

// A node's inputs by position. Inputs that are tensors of the model are looked up once.
template <size_t kCount>
class NodeInputs {
 public:
  NodeInputs(const ort::Node& node, const char* const (&names)[kCount]) : names_(names) {
    for (size_t input = 0; input < kCount; ++input) constants_[input] = node.Constant(input);
  }

  const char* Name(size_t input) const { return names_[input]; }
  bool IsConstant(size_t input) const { return constants_[input].given(); }

  ort::Tensor Get(const ort::Call& call, size_t input) const {
    return constants_[input].given() ? constants_[input] : call.Input(input);
  }

  bool IsGiven(const ort::Call& call, size_t input) const { return Get(call, input).given(); }

  const float* Given(const ort::Call& call, size_t input, const ort::Shape& shape) const {
    const ort::Tensor tensor = Get(call, input);
    call.Expect(Name(input), tensor, shape);
    return tensor.As<float>();
  }

  const float* Optional(const ort::Call& call, size_t input, const ort::Shape& shape) const {
    return IsGiven(call, input) ? Given(call, input, shape) : nullptr;
  }

  // The number of rows of a matrix in a storage: from 1 to `most`. Its shape need not show the columns.
  int64_t Rows(const ort::Call& call, size_t input, Storage storage, int64_t most) const {
    const ort::Tensor tensor = Get(call, input);
    if (tensor.shape.rank() != (IsBlocked(storage) ? 3 : 2))
      call.Refuse(std::string("expected ") + (IsBlocked(storage) ? "[f, blocks, bytes] or [f, bits, bytes]" : "[f, columns]") + " for input " +
                  Name(input) + " but received " + tensor.shape.Text());
    call.ExpectSize((std::string("rows of input ") + Name(input)).c_str(), tensor.shape[0], most);
    return tensor.shape[0];
  }

  // A matrix [rows, columns]. For a matrix in blocks, the scales are the next input.
  Matrix Weights(const ort::Call& call, size_t input, Storage storage, const ort::Shape& matrix) const {
    const ort::Tensor tensor = Get(call, input);
    if (tensor.given() && tensor.type != ElementType(storage))
      call.Refuse(std::string("input ") + Name(input) + " has not the type of storage " +
                  kStorageNames[static_cast<size_t>(storage)]);
    if (!IsBlocked(storage)) {
      call.Expect(Name(input), tensor, matrix);
      return {tensor.data, nullptr};
    }
    const int64_t blocks = static_cast<int64_t>(Blocks(static_cast<size_t>(matrix[1])));
    call.Expect(Name(input), tensor, CodesShape(storage, matrix[0], blocks));
    const ort::Tensor scales = Get(call, input + 1);
    call.Expect(Name(input + 1), scales, {matrix[0] * blocks});
    return {tensor.data, scales.As<uint16_t>()};
  }

  // Matrices with rows in input `records`, in that order.
  struct Recorded {
    Matrix* matrix;
    RecordPart part;
  };
  void Records(const ort::Call& call, size_t input, int64_t neurons, std::span<const Recorded> recorded) const {
    RecordLayout layout;
    for (const auto& [matrix, part] : recorded) layout.Add(part);
    const ort::Tensor tensor = Get(call, input);
    call.Expect(Name(input), tensor, {neurons, static_cast<int64_t>(layout.stride())});
    size_t offset = 0;
    for (const auto& [matrix, part] : recorded) {
      *matrix = layout.At(tensor.data, offset, part);
      offset += part.Bytes();
    }
  }

 private:
  const char* const* names_;
  std::array<ort::Tensor, kCount> constants_;
};

}  // namespace lacuna

#endif  // LACUNA_OPS_FFN_NODE_H_
