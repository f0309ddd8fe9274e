// What the operators of FFNs share: their weights by storage, activations by name, and memory to work in.
#ifndef LACUNA_OPS_FFN_NODE_H_
#define LACUNA_OPS_FFN_NODE_H_

#include <array>
#include <initializer_list>
#include <memory>
#include <string>

#include "kernels/gated_ffn.h"
#include "kernels/matrix.h"
#include "ops/ort.h"

namespace lacuna {

// Of all kernels of the process: calls of one session follow each other, so they use one block.
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

// By attribute `activation`.
Activation ActivationOf(const ort::Node& node);

constexpr ort::Port kFloats = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT};
constexpr ort::Port kOptionalFloats = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, true};

// Of blocks.
constexpr ort::Port kScales = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16};
constexpr ort::Port kOptionalScales = {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, true};

constexpr ort::Port kOptionalCodes = {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, true};

// Of gate and up; storages in blocks have no `down` but in records.
constexpr ort::Port WeightPort(Storage storage) {
  switch (storage) {
    case Storage::kFp32:
      return kFloats;
    case Storage::kBf16:
      return {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16};
    case Storage::kFp16:
      return {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16};
    case Storage::kInt8:
    case Storage::kInt4:
      break;
  }
  return {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8};
}

// A node's inputs; those that are tensors of the model are looked up once.
template <size_t kCount>
class FfnInputs {
 public:
  FfnInputs(const ort::Node& node, size_t first_weight) {
    for (size_t input = first_weight; input < kCount; ++input) constants_[input] = node.Constant(input);
  }

  bool IsConstant(size_t input) const { return constants_[input].given(); }

  ort::Tensor Get(const ort::Call& call, size_t input) const {
    return constants_[input].given() ? constants_[input] : call.Input(input);
  }

  const float* Given(const ort::Call& call, size_t input, const char* name, const ort::Shape& shape) const {
    const ort::Tensor tensor = Get(call, input);
    call.Expect(name, tensor, shape);
    return tensor.As<float>();
  }

  const float* Optional(const ort::Call& call, size_t input, const char* name, const ort::Shape& shape) const {
    return Get(call, input).given() ? Given(call, input, name, shape) : nullptr;
  }

  // The rows of a matrix in a storage, whose columns its shape need not show: from 1 to `most`.
  template <Storage kStorage>
  int64_t Rows(const ort::Call& call, size_t input, const char* name, int64_t most) const {
    const ort::Tensor tensor = Get(call, input);
    constexpr size_t kRank = IsBlocked(kStorage) ? 3 : 2;
    if (tensor.shape.rank() != kRank)
      call.Refuse(std::string("expected ") + (IsBlocked(kStorage) ? "[f, blocks, bytes]" : "[f, columns]") + " for input " +
                  name + " but received " + tensor.shape.Text());
    call.ExpectSize((std::string("rows of input ") + name).c_str(), tensor.shape[0], most);
    return tensor.shape[0];
  }

  // A matrix [rows, columns].
  template <Storage kStorage>
  Matrix Weights(const ort::Call& call, size_t data, size_t scales, const char* name, const ort::Shape& matrix) const {
    const ort::Tensor tensor = Get(call, data);
    if constexpr (!IsBlocked(kStorage)) {
      call.Expect(name, tensor, matrix);
      return {tensor.data, nullptr};
    }
    const int64_t blocks = static_cast<int64_t>(Blocks(static_cast<size_t>(matrix[1])));
    call.Expect(name, tensor, {matrix[0], blocks, kStorage == Storage::kInt4 ? 16 : 32});
    const ort::Tensor of_blocks = Get(call, scales);
    call.Expect((std::string(name) + "_scales").c_str(), of_blocks, {matrix[0] * blocks});
    return {tensor.data, of_blocks.As<uint16_t>()};
  }

  // Matrices whose rows lie in input `records`, in that order.
  struct Recorded {
    Matrix* matrix;
    RecordPart part;
  };
  void Records(const ort::Call& call, size_t input, int64_t neurons, std::initializer_list<Recorded> recorded) const {
    RecordLayout layout;
    for (const auto& [matrix, part] : recorded) layout.Add(part);
    const ort::Tensor tensor = Get(call, input);
    call.Expect("records", tensor, {neurons, static_cast<int64_t>(layout.stride())});
    size_t offset = 0;
    for (const auto& [matrix, part] : recorded) {
      *matrix = layout.At(tensor.data, offset, part);
      offset += part.Bytes();
    }
  }

 private:
  std::array<ort::Tensor, kCount> constants_;
};

}  // namespace lacuna

#endif  // LACUNA_OPS_FFN_NODE_H_
