#include "binding/model.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "binding/system.h"
#include "kernels/checked.h"
#include "ops/ort.h"

namespace lacuna::binding {
namespace {

using ort::Check;

[[noreturn]] void Refuse(const std::string& what) { throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + what); }

size_t ElementsOf(const Value::Shape& shape) {
  size_t elements = 1;
  for (const int64_t dimension : shape) {
    if (dimension < 0) Refuse("a tensor has a dimension below 0");
    elements = Product({elements, static_cast<size_t>(dimension)});
  }
  return elements;
}

Owned<OrtMemoryInfo> CpuMemory(const OrtApi& api) {
  OrtMemoryInfo* memory = nullptr;
  Check(api, api.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
  return {memory, api.ReleaseMemoryInfo};
}

Owned<OrtSessionOptions> SessionOptionsOf(const OrtApi& api, ModelOptions& options) {
  OrtSessionOptions* made = nullptr;
  Check(api, api.CreateSessionOptions(&made));
  Owned<OrtSessionOptions> owned(made, api.ReleaseSessionOptions);
  Check(api, api.SetSessionGraphOptimizationLevel(made, options.optimisation));
  Check(api, api.SetSessionExecutionMode(made, options.mode));
  Check(api, api.SetSessionLogSeverityLevel(made, options.log_severity));
  Check(api, api.SetIntraOpNumThreads(made, options.intra_threads));
  Check(api, api.SetInterOpNumThreads(made, options.inter_threads));
  for (const auto& [name, size] : options.free_dimensions)
    Check(api, api.AddFreeDimensionOverrideByName(made, name.c_str(), size));
  for (const auto& [key, value] : options.config) Check(api, api.AddSessionConfigEntry(made, key.c_str(), value.c_str()));
  std::vector<std::basic_string<ORTCHAR_T>> files;
  std::vector<const ORTCHAR_T*> names;
  std::vector<char*> buffers;
  std::vector<size_t> sizes;
  for (const auto& [name, data] : options.external_data) files.push_back(SystemPath(name));
  for (size_t i = 0; i < files.size(); ++i) {
    auto& data = options.external_data[i].second;
    names.push_back(files[i].c_str());
    buffers.push_back(data.data());
    sizes.push_back(data.size());
  }
  if (!names.empty())
    Check(api, api.AddExternalInitializersFromFilesInMemory(made, names.data(), buffers.data(), sizes.data(), names.size()));
  if (!options.operators.empty()) Check(api, api.RegisterCustomOpsLibrary_V2(made, SystemPath(options.operators).c_str()));
  return owned;
}

Owned<OrtSession> OpenModelSession(const Runtime& runtime, ModelOptions& options) {
  const OrtApi& api = runtime.api();
  const Owned<OrtSessionOptions> session_options = SessionOptionsOf(api, options);
  OrtSession* session = nullptr;
  Check(api, options.path.empty()
                 ? api.CreateSessionFromArray(runtime.env(), options.bytes.data(), options.bytes.size(), session_options.get(), &session)
                 : api.CreateSession(runtime.env(), SystemPath(options.path).c_str(), session_options.get(), &session));
  // The session has copied what it needs of these.
  options.bytes = {};
  options.external_data = {};
  return {session, api.ReleaseSession};
}

// Bytes of `tokens` tokens of one head, if the dimensions before and after the tokens' agree.
size_t HeadBytes(const Value& value, size_t tokens) {
  return BytesOf(value.type(), tokens * static_cast<size_t>(value.shape()[3]));
}

}  // namespace

size_t BytesOf(ONNXTensorElementDataType type, size_t elements) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT4:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT4:
      return (elements + 1) / 2;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return elements;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16:
      return 2 * elements;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32:
      return 4 * elements;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64:
      return 8 * elements;
    default:
      Refuse("tensors of element type " + std::to_string(type) + " are not supported");
  }
}

void Value::Free::operator()(std::byte* data) const { std::free(data); }

std::shared_ptr<Value> Value::Make(const OrtApi& api, ONNXTensorElementDataType type, Shape shape) {
  const size_t elements = ElementsOf(shape);
  // No element has more than eight bytes.
  if (elements > SIZE_MAX / 8) Refuse("a tensor is too large");
  const size_t bytes = BytesOf(type, elements);
  std::unique_ptr<std::byte, Free> memory(static_cast<std::byte*>(std::calloc(std::max<size_t>(bytes, 1), 1)));
  if (memory == nullptr)
    throw ort::Refusal(ORT_FAIL, "lacuna: out of memory: a tensor takes " + std::to_string((bytes >> 20) + 1) + " MiB");
  const Owned<OrtMemoryInfo> cpu = CpuMemory(api);
  OrtValue* made = nullptr;
  Check(api, api.CreateTensorWithDataAsOrtValue(cpu.get(), memory.get(), bytes, shape.data(), shape.size(), type, &made));
  std::shared_ptr<Value> value(new Value(type, std::move(shape), {made, api.ReleaseValue}));
  value->data_ = memory.get();
  value->bytes_ = bytes;
  value->memory_ = std::move(memory);
  return value;
}

std::shared_ptr<Value> Value::Take(const OrtApi& api, OrtValue* given) {
  Owned<OrtValue> owned(given, api.ReleaseValue);
  int is_tensor = 0;
  Check(api, api.IsTensor(given, &is_tensor));
  if (is_tensor == 0) Refuse("an output is no tensor");
  OrtTensorTypeAndShapeInfo* made = nullptr;
  Check(api, api.GetTensorTypeAndShape(given, &made));
  const Owned<OrtTensorTypeAndShapeInfo> info(made, api.ReleaseTensorTypeAndShapeInfo);
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  size_t rank = 0;
  Check(api, api.GetTensorElementType(made, &type));
  Check(api, api.GetDimensionsCount(made, &rank));
  Shape shape(rank);
  Check(api, api.GetDimensions(made, shape.data(), rank));
  void* data = nullptr;
  Check(api, api.GetTensorMutableData(given, &data));
  const size_t bytes = BytesOf(type, ElementsOf(shape));
  std::shared_ptr<Value> value(new Value(type, std::move(shape), std::move(owned)));
  value->data_ = static_cast<std::byte*>(data);
  value->bytes_ = bytes;
  return value;
}

void Value::CopyTokens(const Value& from, size_t tokens) {
  const bool are_caches = shape_.size() == 4 && from.shape_.size() == 4 && type_ == from.type_ && shape_[0] == from.shape_[0] &&
                          shape_[1] == from.shape_[1] && shape_[3] == from.shape_[3];
  if (!are_caches || tokens > static_cast<size_t>(shape_[2]) || tokens > static_cast<size_t>(from.shape_[2]))
    Refuse("caches of these shapes have no " + std::to_string(tokens) + " tokens in common");
  const size_t used = HeadBytes(*this, tokens);
  const size_t ours = HeadBytes(*this, static_cast<size_t>(shape_[2]));
  const size_t theirs = HeadBytes(from, static_cast<size_t>(from.shape_[2]));
  const size_t heads = static_cast<size_t>(shape_[0]) * static_cast<size_t>(shape_[1]);
  for (size_t head = 0; head < heads; ++head) std::memcpy(data_ + head * ours, from.data_ + head * theirs, used);
}

Model::Model(const Runtime& runtime, ModelOptions options)
    : api_(runtime.api()),
      options_(std::move(options)),
      session_(OpenModelSession(runtime, options_)),
      run_options_(nullptr, api_.ReleaseRunOptions),
      inputs_(ReadInputs(api_, session_.get())),
      outputs_(ReadOutputs(api_, session_.get())) {
  OrtRunOptions* run_options = nullptr;
  Check(api_, api_.CreateRunOptions(&run_options));
  run_options_.reset(run_options);
}

void Model::Run(std::span<const Bound> inputs, std::span<Bound> outputs) {
  std::vector<const char*> input_names, output_names;
  std::vector<const OrtValue*> fed;
  std::vector<OrtValue*> fetched;
  for (const Bound& input : inputs) {
    input_names.push_back(input.name.c_str());
    fed.push_back(input.value->ort());
  }
  for (const Bound& output : outputs) {
    output_names.push_back(output.name.c_str());
    fetched.push_back(output.value == nullptr ? nullptr : output.value->ort());
  }
  OrtStatus* status = api_.Run(session_.get(), run_options_.get(), input_names.data(), fed.data(), fed.size(),
                               output_names.data(), output_names.size(), fetched.data());
  Check(api_, status);
  std::vector<std::shared_ptr<Value>> made(outputs.size());
  std::string problem;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].value != nullptr) continue;
    try {
      made[i] = Value::Take(api_, fetched[i]);
    } catch (const ort::Refusal& refusal) {
      problem = outputs[i].name + ": " + refusal.what();
    }
  }
  if (!problem.empty()) Refuse(problem);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (made[i] != nullptr) outputs[i].value = std::move(made[i]);
}

void Model::Cancel() { Check(api_, api_.RunOptionsSetTerminate(run_options_.get())); }

void Model::Resume() { Check(api_, api_.RunOptionsUnsetTerminate(run_options_.get())); }

}  // namespace lacuna::binding
