#include "binding/decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "ops/ort.h"

namespace lacuna::binding {
namespace {

using ort::Check;

// Tokens that caches have room for at first, and at least; room doubles when it is used up.
constexpr size_t kLeastCapacity = 256;

size_t ElementBytes(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return 4;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return 2;
    default:
      throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: caches are float32, float16 or bfloat16");
  }
}

Owned<OrtSession> OpenSession(const Runtime& runtime, const DecoderOptions& options) {
  const OrtApi& api = runtime.api();
  OrtSessionOptions* made = nullptr;
  Check(api, api.CreateSessionOptions(&made));
  const Owned<OrtSessionOptions> session_options(made, api.ReleaseSessionOptions);
  Check(api, api.SetSessionGraphOptimizationLevel(made, ORT_ENABLE_ALL));
  Check(api, api.SetSessionExecutionMode(made, ORT_SEQUENTIAL));
  Check(api, api.SetIntraOpNumThreads(made, options.threads));
  Check(api, api.SetInterOpNumThreads(made, 1));
  if (!options.operators.empty())
    Check(api, api.RegisterCustomOpsLibrary_V2(made, options.operators.c_str()));
  OrtSession* session = nullptr;
  Check(api, api.CreateSession(runtime.env(), options.model.c_str(), made, &session));
  return {session, api.ReleaseSession};
}

[[noreturn]] void RefuseModel(const std::string& what) {
  throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: not a decoder with caches in place: " + what);
}

struct Port {
  std::string name;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  // -1 where the graph leaves a dimension open.
  std::vector<int64_t> shape;
};

using CountPorts = decltype(OrtApi::SessionGetInputCount);
using PortName = decltype(OrtApi::SessionGetInputName);
using PortType = decltype(OrtApi::SessionGetInputTypeInfo);

std::vector<Port> ReadPorts(const OrtApi& api, const OrtSession* session, CountPorts count_ports, PortName port_name,
                            PortType port_type) {
  OrtAllocator* allocator = nullptr;
  Check(api, api.GetAllocatorWithDefaultOptions(&allocator));
  size_t count = 0;
  Check(api, count_ports(session, &count));
  std::vector<Port> ports(count);
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    Check(api, port_name(session, i, allocator, &name));
    ports[i].name = name;
    Check(api, api.AllocatorFree(allocator, name));
    OrtTypeInfo* made = nullptr;
    Check(api, port_type(session, i, &made));
    const Owned<OrtTypeInfo> type(made, api.ReleaseTypeInfo);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    Check(api, api.CastTypeInfoToTensorInfo(made, &tensor));
    if (tensor == nullptr) RefuseModel(ports[i].name + " is no tensor");
    size_t rank = 0;
    Check(api, api.GetTensorElementType(tensor, &ports[i].type));
    Check(api, api.GetDimensionsCount(tensor, &rank));
    ports[i].shape.resize(rank);
    Check(api, api.GetDimensions(tensor, ports[i].shape.data(), rank));
  }
  return ports;
}

const Port& FindPort(const std::vector<Port>& ports, const std::string& name) {
  const auto found = std::find_if(ports.begin(), ports.end(), [&](const Port& port) { return port.name == name; });
  if (found == ports.end()) RefuseModel("it has no " + name);
  return *found;
}

Signature ReadSignature(const OrtApi& api, const OrtSession* session) {
  const std::vector<Port> inputs =
      ReadPorts(api, session, api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo);
  const std::vector<Port> outputs =
      ReadPorts(api, session, api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo);
  Signature signature;
  const std::string past = "past_key_values.";
  for (const Port& input : inputs) {
    if (input.name == "input_ids" || input.name == "attention_mask") continue;
    if (!input.name.starts_with(past)) RefuseModel("it wants " + input.name);
    if (input.shape.size() != 4 || input.shape[1] < 1 || input.shape[3] < 1)
      RefuseModel(input.name + " has no fixed number of heads and size of a head");
    ElementBytes(input.type);
    const std::string present = "present." + input.name.substr(past.size());
    FindPort(outputs, present);
    signature.caches.push_back({input.name, present, input.type, input.shape[1], input.shape[3]});
  }
  for (const char* name : {"input_ids", "attention_mask"})
    if (FindPort(inputs, name).type != ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) RefuseModel(std::string(name) + " is not int64");
  const Port& logits = FindPort(outputs, "logits");
  if (logits.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || logits.shape.size() != 3 || logits.shape[2] < 1)
    RefuseModel("its logits are not float32 [batch, tokens, vocabulary]");
  signature.vocab = logits.shape[2];
  return signature;
}

}  // namespace

Decoder::Decoder(const Runtime& runtime, const DecoderOptions& options)
    : api_(runtime.api()),
      session_(OpenSession(runtime, options)),
      signature_(ReadSignature(api_, session_.get())),
      memory_(nullptr, api_.ReleaseMemoryInfo),
      binding_(nullptr, api_.ReleaseIoBinding),
      run_options_(nullptr, api_.ReleaseRunOptions) {
  OrtMemoryInfo* memory = nullptr;
  Check(api_, api_.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
  memory_.reset(memory);
  OrtIoBinding* binding = nullptr;
  Check(api_, api_.CreateIoBinding(session_.get(), &binding));
  binding_.reset(binding);
  OrtRunOptions* run_options = nullptr;
  Check(api_, api_.CreateRunOptions(&run_options));
  run_options_.reset(run_options);
}

Owned<OrtValue> Decoder::Wrap(void* data, size_t bytes, ONNXTensorElementDataType type,
                              std::span<const int64_t> shape) const {
  OrtValue* value = nullptr;
  Check(api_, api_.CreateTensorWithDataAsOrtValue(memory_.get(), data, bytes, shape.data(), shape.size(), type, &value));
  return {value, api_.ReleaseValue};
}

void Decoder::Bind(const char* input, const OrtValue* value) { Check(api_, api_.BindInput(binding_.get(), input, value)); }

void Decoder::Feed(std::span<const int64_t> tokens, std::span<float> logits) {
  if (tokens.empty()) throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: no tokens to feed");
  const size_t total = length_ + tokens.size();
  Reserve(total);
  const std::array<int64_t, 2> row = {1, static_cast<int64_t>(tokens.size())};
  const Owned<OrtValue> ids = Wrap(const_cast<int64_t*>(tokens.data()), tokens.size_bytes(),
                                   ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, row);
  const std::array<int64_t, 2> seen = {1, static_cast<int64_t>(total)};
  const Owned<OrtValue> mask =
      Wrap(mask_.data(), total * sizeof(int64_t), ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, seen);
  logits_.resize(tokens.size() * vocab());
  const std::array<int64_t, 3> rows = {1, static_cast<int64_t>(tokens.size()), signature_.vocab};
  const Owned<OrtValue> output =
      Wrap(logits_.data(), logits_.size() * sizeof(float), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, rows);
  Bind("input_ids", ids.get());
  Bind("attention_mask", mask.get());
  Check(api_, api_.BindOutput(binding_.get(), "logits", output.get()));
  Check(api_, api_.RunWithBinding(session_.get(), run_options_.get(), binding_.get()));
  length_ = total;
  if (!logits.empty()) std::copy_n(logits_.end() - signature_.vocab, vocab(), logits.begin());
}

void Decoder::Rewind(size_t length) {
  if (length > length_)
    throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: cannot go back to token " + std::to_string(length) + " of " +
                                                 std::to_string(length_));
  length_ = length;
}

void Decoder::Cancel() { Check(api_, api_.RunOptionsSetTerminate(run_options_.get())); }

// Room for `length` tokens. What is there is kept: a head's tokens lie together, so larger caches are filled head by head.
void Decoder::Reserve(size_t length) {
  if (length <= capacity_) return;
  const size_t capacity = std::max({length, 2 * capacity_, kLeastCapacity});
  std::vector<Cache> larger;
  larger.reserve(signature_.caches.size());
  for (size_t i = 0; i < signature_.caches.size(); ++i) {
    const CacheSpec& spec = signature_.caches[i];
    const size_t token_bytes = static_cast<size_t>(spec.head_size) * ElementBytes(spec.type);
    std::vector<std::byte> data(static_cast<size_t>(spec.heads) * capacity * token_bytes);
    for (size_t head = 0; length_ > 0 && head < static_cast<size_t>(spec.heads); ++head)
      std::memcpy(data.data() + head * capacity * token_bytes, caches_[i].data.data() + head * capacity_ * token_bytes,
                  length_ * token_bytes);
    const std::array<int64_t, 4> shape = {1, spec.heads, static_cast<int64_t>(capacity), spec.head_size};
    Owned<OrtValue> value = Wrap(data.data(), data.size(), spec.type, shape);
    larger.push_back({std::move(data), std::move(value)});
  }
  std::vector<int64_t> mask(capacity, 1);
  // Nothing can fail from here on but binding, which leaves names bound to the one or the other.
  for (size_t i = 0; i < larger.size(); ++i) {
    Bind(signature_.caches[i].past.c_str(), larger[i].value.get());
    Check(api_, api_.BindOutput(binding_.get(), signature_.caches[i].present.c_str(), larger[i].value.get()));
  }
  caches_.swap(larger);
  mask_.swap(mask);
  capacity_ = capacity;
}

}  // namespace lacuna::binding
