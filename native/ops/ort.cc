#include "ops/ort.h"

#include <algorithm>
#include <cmath>
#include <thread>

#include "kernels/checked.h"

namespace lacuna::ort {

void Check(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return;
  const OrtErrorCode code = api.GetErrorCode(status);
  const std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw Refusal(code, message);
}

Shape::Shape(std::initializer_list<int64_t> dimensions) : rank_(dimensions.size()) {
  std::copy(dimensions.begin(), dimensions.end(), dimensions_.begin());
}

void Shape::Resize(size_t rank) {
  if (rank > kMostDimensions)
    throw Refusal(ORT_INVALID_ARGUMENT, "lacuna: a tensor has " + std::to_string(rank) + " dimensions; no operator takes that");
  rank_ = rank;
}

size_t Shape::elements() const {
  // In a tensor without elements, the other dimensions may be anything.
  if (std::find(data(), data() + rank_, 0) != data() + rank_) return 0;
  size_t product = 1;
  for (size_t i = 0; i < rank_; ++i) product = Product({product, static_cast<size_t>(dimensions_[i])});
  return product;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(data(), data() + rank_, other.data());
}

std::string Shape::Text() const {
  std::string text = "[";
  for (size_t i = 0; i < rank_; ++i) text += (i == 0 ? "" : ", ") + std::to_string(dimensions_[i]);
  return text + "]";
}

Tensor View(const OrtApi& api, const OrtValue* value) {
  Tensor tensor;
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Check(api, api.GetTensorTypeAndShape(value, &info));
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(api.ReleaseTensorTypeAndShapeInfo)> owned(
      info, api.ReleaseTensorTypeAndShapeInfo);
  size_t rank = 0;
  Check(api, api.GetTensorElementType(info, &tensor.type));
  Check(api, api.GetDimensionsCount(info, &rank));
  tensor.shape.Resize(rank);
  Check(api, api.GetDimensions(info, tensor.shape.data(), rank));
  void* data = nullptr;
  Check(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  // An empty tensor may have no memory, but it exists.
  static const char kEmpty = 0;
  tensor.data = data == nullptr ? &kEmpty : data;
  return tensor;
}

void Node::Lacks(const char* attribute, OrtStatus* status) const {
  const std::string reason = api_.GetErrorMessage(status);
  api_.ReleaseStatus(status);
  throw Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + op_type_ + " needs attribute " + attribute + ": " + reason);
}

float Node::Float(const char* attribute) const {
  float value = 0;
  if (OrtStatus* status = api_.KernelInfoGetAttribute_float(info_, attribute, &value)) Lacks(attribute, status);
  if (!std::isfinite(value))
    throw Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + op_type_ + ": expected a finite number for attribute " + attribute +
                                            " but received " + std::to_string(value));
  return value;
}

int64_t Node::Int(const char* attribute) const {
  int64_t value = 0;
  if (OrtStatus* status = api_.KernelInfoGetAttribute_int64(info_, attribute, &value)) Lacks(attribute, status);
  return value;
}

int64_t Node::Int(const char* attribute, int64_t least, int64_t most) const {
  const int64_t value = Int(attribute);
  if (value < least || value > most)
    throw Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + op_type_ + ": expected " + std::to_string(least) + " to " +
                                            std::to_string(most) + " for attribute " + attribute + " but received " +
                                            std::to_string(value));
  return value;
}

std::string Node::String(const char* attribute) const {
  size_t size = 0;
  if (OrtStatus* status = api_.KernelInfoGetAttribute_string(info_, attribute, nullptr, &size)) Lacks(attribute, status);
  std::string value(size, '\0');
  if (OrtStatus* status = api_.KernelInfoGetAttribute_string(info_, attribute, value.data(), &size))
    Lacks(attribute, status);
  // The size includes the zero at the end.
  value.resize(size == 0 ? 0 : size - 1);
  return value;
}

bool Node::Flag(const char* attribute) const {
  int64_t value = 0;
  OrtStatus* status = api_.KernelInfoGetAttribute_int64(info_, attribute, &value);
  if (status != nullptr) api_.ReleaseStatus(status);
  return status == nullptr && value != 0;
}

bool Node::HasFloat(const char* attribute) const {
  float value = 0;
  OrtStatus* status = api_.KernelInfoGetAttribute_float(info_, attribute, &value);
  if (status != nullptr) api_.ReleaseStatus(status);
  return status == nullptr;
}

bool Node::HasInt(const char* attribute) const {
  int64_t value = 0;
  OrtStatus* status = api_.KernelInfoGetAttribute_int64(info_, attribute, &value);
  if (status != nullptr) api_.ReleaseStatus(status);
  return status == nullptr;
}

size_t Node::IndexOf(const char* attribute, const char* const* names, size_t count) const {
  const std::string wanted = String(attribute);
  std::string all;
  for (size_t i = 0; i < count; ++i) {
    if (wanted == names[i]) return i;
    all += (i == 0 ? "" : i + 1 == count ? " or " : ", ") + std::string(names[i]);
  }
  throw Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + op_type_ + ": expected " + all + " for attribute " + attribute +
                                          " but received \"" + wanted + "\"");
}

bool Node::HasInput(size_t input) const {
  size_t inputs = 0;
  Check(api_, api_.KernelInfo_GetInputCount(info_, &inputs));
  if (input >= inputs) return false;
  // Missing inputs have no name. The size includes the zero at the end.
  size_t size = 0;
  Check(api_, api_.KernelInfo_GetInputName(info_, input, nullptr, &size));
  return size > 1;
}

Tensor Node::Constant(size_t input) const {
  size_t inputs = 0;
  Check(api_, api_.KernelInfo_GetInputCount(info_, &inputs));
  if (input >= inputs) return {};
  int is_constant = 0;
  const OrtValue* value = nullptr;
  Check(api_, api_.KernelInfoGetConstantInput_tensor(info_, input, &is_constant, &value));
  return is_constant == 0 || value == nullptr ? Tensor{} : View(api_, value);
}

Tensor Call::Input(size_t index) const {
  size_t inputs = 0;
  Check(api_, api_.KernelContext_GetInputCount(context_, &inputs));
  if (index >= inputs) return {};
  const OrtValue* value = nullptr;
  Check(api_, api_.KernelContext_GetInput(context_, index, &value));
  return value == nullptr ? Tensor{} : View(api_, value);
}

void* Call::OutputData(size_t index, const Shape& shape, bool optional) const {
  size_t outputs = 0;
  Check(api_, api_.KernelContext_GetOutputCount(context_, &outputs));
  OrtValue* value = nullptr;
  if (index < outputs) Check(api_, api_.KernelContext_GetOutput(context_, index, shape.data(), shape.rank(), &value));
  if (value == nullptr && !optional) Refuse("output " + std::to_string(index) + " must have a name");
  if (value == nullptr) return nullptr;
  void* data = nullptr;
  Check(api_, api_.GetTensorMutableData(value, &data));
  return data;
}

Parallel Call::Threads() {
  // The API does not say how many threads a session has. Work is claimed, so superfluous tasks cost next to nothing.
  static const size_t kCores = std::clamp<size_t>(std::thread::hardware_concurrency(), 1, 64);
  return {this, kCores, [](void* state, size_t tasks, void (*task)(void*, size_t), void* argument) {
            const Call& call = *static_cast<Call*>(state);
            if (tasks == 1) return task(argument, 0);
            Check(call.api_, call.api_.KernelContext_ParallelFor(call.context_, task, tasks, 0, argument));
          }};
}

void Call::Refuse(const std::string& message) const {
  throw Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + op_type_ + ": " + message);
}

void Call::ExpectSize(const char* what, int64_t size, int64_t most) const {
  if (size < 1 || size > most)
    Refuse(std::string("expected 1 to ") + std::to_string(most) + " " + what + " but received " + std::to_string(size));
}

void Call::Expect(const char* input, const Tensor& tensor, const Shape& wanted) const {
  if (!tensor.given()) Refuse(std::string("input ") + input + " is missing");
  if (!(tensor.shape == wanted))
    Refuse(std::string("expected ") + wanted.Text() + " for input " + input + " but received " + tensor.shape.Text());
}

}  // namespace lacuna::ort
