#include "binding/decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "binding/library.h"
#include "binding/ports.h"
#include "binding/system.h"
#include "kernels/checked.h"
#include "kernels/limits.h"
#include "ops/ort.h"

namespace lacuna::binding {
namespace {

using ort::Check;

// The capacity of caches at first, in tokens. It doubles when it is used up.
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
  // A fault is an error of the call. It prints no line on the terminal.
  Check(api, api.SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_FATAL));
  if (!options.operators.empty())
    Check(api, api.RegisterCustomOpsLibrary_V2(made, SystemPath(options.operators).c_str()));
  OrtSession* session = nullptr;
  Check(api, api.CreateSession(runtime.env(), SystemPath(options.model).c_str(), made, &session));
  return {session, api.ReleaseSession};
}

[[noreturn]] void RefuseModel(const std::string& what) {
  throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: not a decoder with caches in place: " + what);
}

void ExpectAtMost(const std::string& what, int64_t declared, int64_t most) {
  if (declared > most)
    RefuseModel(what + ": expected at most " + std::to_string(most) + " but the model declares " + std::to_string(declared));
}

const Port& FindPort(const std::vector<Port>& ports, const std::string& name) {
  const auto found = std::find_if(ports.begin(), ports.end(), [&](const Port& port) { return port.name == name; });
  if (found == ports.end()) RefuseModel("it has no " + name);
  return *found;
}

Signature ReadSignature(const OrtApi& api, const OrtSession* session) {
  const std::vector<Port> inputs = ReadInputs(api, session);
  const std::vector<Port> outputs = ReadOutputs(api, session);
  for (const std::vector<Port>* ports : {&inputs, &outputs})
    for (const Port& port : *ports)
      if (!port.is_tensor) RefuseModel(port.name + " is no tensor");
  Signature signature;
  const std::string past = "past_key_values.";
  for (const Port& input : inputs) {
    if (input.name == "input_ids" || input.name == "attention_mask") continue;
    if (!input.name.starts_with(past)) RefuseModel("it wants " + input.name);
    if (input.shape.size() != 4 || input.shape[1] < 1 || input.shape[3] < 1)
      RefuseModel(input.name + " has no fixed number of heads and size of a head");
    ExpectAtMost("heads of " + input.name, input.shape[1], kMostHeads);
    ExpectAtMost("entries a head of " + input.name, input.shape[3], kMostHeadEntries);
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
  ExpectAtMost("words of its vocabulary", logits.shape[2], kMostWords);
  signature.vocab = logits.shape[2];
  return signature;
}

}  // namespace

Decoder::Decoder(const Runtime& runtime, const DecoderOptions& options)
    : api_(runtime.api()),
      session_(OpenSession(runtime, options)),
      want_logits_(reinterpret_cast<WantLogits>(LoadedExport(options.operators, "LacunaWantLogits"))),
      say_cache_layout_(reinterpret_cast<SayCacheLayout>(LoadedExport(options.operators, "LacunaCacheLayout"))),
      cache_layout_(options.cache),
      signature_(ReadSignature(api_, session_.get())),
      memory_(nullptr, api_.ReleaseMemoryInfo),
      binding_(nullptr, api_.ReleaseIoBinding),
      run_options_(nullptr, api_.ReleaseRunOptions) {
  if (!IsPlain(cache_layout_)) {
    if (say_cache_layout_ == nullptr) RefuseModel("its operators' library knows only fp32 caches, of which it reads all");
    for (const CacheSpec& spec : signature_.caches)
      if (spec.type != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) RefuseModel(spec.past + " is no float32, which alone can be kept otherwise");
  }
  OrtMemoryInfo* memory = nullptr;
  Check(api_, api_.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory));
  memory_.reset(memory);
  OrtIoBinding* binding = nullptr;
  Check(api_, api_.CreateIoBinding(session_.get(), &binding));
  binding_.reset(binding);
  OrtRunOptions* run_options = nullptr;
  Check(api_, api_.CreateRunOptions(&run_options));
  run_options_.reset(run_options);
  Check(api_, api_.RunOptionsSetRunLogSeverityLevel(run_options, ORT_LOGGING_LEVEL_FATAL));
}

Owned<OrtValue> Decoder::Wrap(void* data, size_t bytes, ONNXTensorElementDataType type,
                              std::span<const int64_t> shape) const {
  OrtValue* value = nullptr;
  Check(api_, api_.CreateTensorWithDataAsOrtValue(memory_.get(), data, bytes, shape.data(), shape.size(), type, &value));
  return {value, api_.ReleaseValue};
}

void Decoder::Bind(const char* input, const OrtValue* value) { Check(api_, api_.BindInput(binding_.get(), input, value)); }

void Decoder::Restart(size_t rows) {
  lengths_.assign(rows, 0);
  limit_ = SIZE_MAX;
}

void Decoder::Feed(size_t row, std::span<const int64_t> tokens, std::span<float> logits) {
  if (tokens.empty()) throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: no tokens to feed");
  const size_t total = lengths_[row] + tokens.size();
  Reserve(total);
  mask_.assign(total, 1);
  const size_t count = Product({tokens.size(), vocab()});
  if (logits.size() == count) {
    Run({row, 1}, tokens, mask_, logits, {tokens.size(), 0});
  } else {
    // The logits of a long prompt are larger than the model's weights. Unwritten parts take no memory.
    const auto all = std::make_unique_for_overwrite<float[]>(count);
    Run({row, 1}, tokens, mask_, {all.get(), count}, {logits.empty() ? size_t{0} : size_t{1}, 0});
    if (!logits.empty()) std::copy_n(all.get() + count - vocab(), vocab(), logits.begin());
  }
  lengths_[row] = total;
}

std::span<const float> Decoder::Step(std::span<const int64_t> tokens, size_t largest) {
  if (tokens.size() != rows()) throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: a token is wanted for each row");
  const size_t total = *std::max_element(lengths_.begin(), lengths_.end()) + 1;
  Reserve(total);
  mask_.assign(rows() * total, 0);
  for (size_t row = 0; row < rows(); ++row) std::fill_n(mask_.begin() + static_cast<ptrdiff_t>(row * total), lengths_[row] + 1, 1);
  logits_.resize(Product({rows(), vocab()}));
  Run({0, rows()}, tokens, mask_, logits_, {rows(), largest});
  for (size_t& length : lengths_) ++length;
  return logits_;
}

// The logits are [rows, tokens in a row, vocab].
void Decoder::Run(View view, std::span<const int64_t> tokens, std::span<const int64_t> mask, std::span<float> logits,
                  WantedLogits wanted) {
  BindCaches(view);
  const auto rows = static_cast<int64_t>(view.count);
  const std::array<int64_t, 3> shape = {rows, static_cast<int64_t>(tokens.size()) / rows, signature_.vocab};
  const std::array<int64_t, 2> seen = {rows, static_cast<int64_t>(mask.size()) / rows};
  const auto int64s = [&](std::span<const int64_t> data, std::span<const int64_t> dimensions) {
    return Wrap(const_cast<int64_t*>(data.data()), data.size_bytes(), ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, dimensions);
  };
  const Owned<OrtValue> ids = int64s(tokens, std::span(shape).first(2));
  const Owned<OrtValue> attention = int64s(mask, seen);
  const Owned<OrtValue> output = Wrap(logits.data(), logits.size_bytes(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, shape);
  Bind("input_ids", ids.get());
  Bind("attention_mask", attention.get());
  Check(api_, api_.BindOutput(binding_.get(), "logits", output.get()));
  // ONNX Runtime calls kernels from the calling thread.
  if (want_logits_ != nullptr) want_logits_(logits.data(), wanted.tokens, wanted.largest);
  if (say_cache_layout_ != nullptr) say_cache_layout_(static_cast<int>(cache_layout_.format), cache_layout_.attended);
  OrtStatus* status = api_.RunWithBinding(session_.get(), run_options_.get(), binding_.get());
  if (want_logits_ != nullptr) want_logits_(nullptr, 0, 0);
  if (say_cache_layout_ != nullptr) say_cache_layout_(static_cast<int>(CacheFormat::kFp32), 0);
  Check(api_, status);
}

void Decoder::Rewind(size_t length) {
  if (length > lengths_[0])
    throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: cannot go back to token " + std::to_string(length) + " of " +
                                                 std::to_string(lengths_[0]));
  lengths_[0] = length;
}

void Decoder::Drop(size_t row) {
  const size_t last = rows() - 1;
  for (size_t i = 0; row != last && i < caches_.size(); ++i) {
    const CacheSpec& spec = signature_.caches[i];
    const size_t bytes = RowBytes(spec, capacity_);
    const size_t head_bytes = bytes / static_cast<size_t>(spec.heads);
    const size_t used = RowBytes(spec, lengths_[last]) / static_cast<size_t>(spec.heads);
    for (size_t head = 0; head < static_cast<size_t>(spec.heads); ++head)
      std::memcpy(caches_[i].get() + row * bytes + head * head_bytes, caches_[i].get() + last * bytes + head * head_bytes, used);
  }
  lengths_[row] = lengths_[last];
  lengths_.pop_back();
}

void Decoder::Cancel() { Check(api_, api_.RunOptionsSetTerminate(run_options_.get())); }

void Decoder::Resume() { Check(api_, api_.RunOptionsUnsetTerminate(run_options_.get())); }

// The number of tokens that a tensor with room for `capacity` is declared with.
size_t Decoder::DeclaredCapacity(const CacheSpec& spec, size_t capacity) const {
  return CacheCapacity(cache_layout_, capacity, static_cast<size_t>(spec.head_size));
}

// Bytes of a row of `capacity` tokens.
size_t Decoder::RowBytes(const CacheSpec& spec, size_t capacity) const {
  return Product({static_cast<size_t>(spec.heads), DeclaredCapacity(spec, capacity), static_cast<size_t>(spec.head_size),
                  ElementBytes(spec.type)});
}

// Bytes of all caches of all rows.
size_t Decoder::CacheBytes(size_t capacity) const {
  size_t bytes = 0;
  for (const CacheSpec& spec : signature_.caches) bytes = Sum(bytes, RowBytes(spec, capacity));
  return Product({bytes, rows()});
}

Decoder::Memory::Memory(size_t bytes) {
  constexpr size_t kLine = 64;
  block_.reset(static_cast<std::byte*>(std::calloc(Sum(bytes, kLine), 1)));
  if (block_ == nullptr) return;
  const size_t over = reinterpret_cast<uintptr_t>(block_.get()) % kLine;
  start_ = block_.get() + (kLine - over) % kLine;
}

Decoder::Memory Decoder::Allocate(size_t bytes, size_t capacity) const {
  Memory memory(bytes);
  if (memory.get() == nullptr)
    throw ort::Refusal(ORT_FAIL, "lacuna: out of memory: a cache of " + std::to_string(capacity) + " tokens for " +
                                     std::to_string(rows()) + " row(s) takes " +
                                     std::to_string((CacheBytes(capacity) >> 20) + 1) + " MiB");
  return memory;
}

// Makes room for `length` tokens in each row and keeps the contents. A head's tokens are consecutive, so larger caches
// are filled head by head.
void Decoder::Reserve(size_t length) {
  if (length <= capacity_ && rows() <= most_rows_) return;
  const size_t wanted = std::min(std::max(2 * capacity_, kLeastCapacity), limit_);
  const size_t capacity = std::max(length, length <= capacity_ ? capacity_ : wanted);
  std::vector<Memory> larger;
  larger.reserve(signature_.caches.size());
  for (size_t i = 0; i < signature_.caches.size(); ++i) {
    const CacheSpec& spec = signature_.caches[i];
    const size_t heads = static_cast<size_t>(spec.heads);
    const size_t before = RowBytes(spec, capacity_) / heads;
    const size_t after = RowBytes(spec, capacity) / heads;
    Memory data = Allocate(Product({RowBytes(spec, capacity), rows()}), capacity);
    for (size_t row = 0; row < std::min(rows(), most_rows_); ++row)
      for (size_t head = row * heads; lengths_[row] > 0 && head < (row + 1) * heads; ++head)
        std::memcpy(data.get() + head * after, caches_[i].get() + head * before, RowBytes(spec, lengths_[row]) / heads);
    larger.push_back(std::move(data));
  }
  // The bindings end with the old caches.
  bound_ = {};
  caches_.swap(larger);
  capacity_ = capacity;
  most_rows_ = rows();
}

void Decoder::BindCaches(View view) {
  if (view == bound_) return;
  bound_ = {};
  std::vector<Owned<OrtValue>> values;
  values.reserve(caches_.size());
  for (size_t i = 0; i < caches_.size(); ++i) {
    const CacheSpec& spec = signature_.caches[i];
    const size_t bytes = RowBytes(spec, capacity_);
    const std::array<int64_t, 4> shape = {static_cast<int64_t>(view.count), spec.heads,
                                          static_cast<int64_t>(DeclaredCapacity(spec, capacity_)), spec.head_size};
    values.push_back(Wrap(caches_[i].get() + view.first * bytes, view.count * bytes, spec.type, shape));
    Bind(spec.past.c_str(), values[i].get());
    Check(api_, api_.BindOutput(binding_.get(), spec.present.c_str(), values[i].get()));
  }
  bound_values_.swap(values);
  bound_ = view;
}

}  // namespace lacuna::binding
