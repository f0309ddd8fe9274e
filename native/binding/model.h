// Any model: tensors in, tensors out. They stay in ONNX Runtime's memory as long as they are referenced.
#ifndef LACUNA_BINDING_MODEL_H_
#define LACUNA_BINDING_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "binding/ports.h"
#include "binding/runtime.h"

namespace lacuna::binding {

// Bytes of `elements` elements of a type; two of 4 bits share one. Throws ort::Refusal for types without a fixed size.
size_t BytesOf(ONNXTensorElementDataType type, size_t elements);

// A tensor. Unless ONNX Runtime made it, it is zero until it is written, and takes no memory until then.
class Value {
 public:
  using Shape = std::vector<int64_t>;

  // Throws ort::Refusal if memory is short, or for an impossible type or shape.
  static std::shared_ptr<Value> Make(const OrtApi& api, ONNXTensorElementDataType type, Shape shape);
  // Takes over the result of a run.
  static std::shared_ptr<Value> Take(const OrtApi& api, OrtValue* value);

  ONNXTensorElementDataType type() const { return type_; }
  const Shape& shape() const { return shape_; }
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  OrtValue* ort() const { return value_.get(); }

  // JavaScript objects that hold it, and whether its bytes are reported to the collector. Only on the event loop's
  // thread.
  size_t holders = 0;
  bool is_reported = false;

  // For two caches [rows, heads, tokens, head size] that differ only in their number of tokens: copies the first
  // `tokens` of another. Throws ort::Refusal if that does not fit.
  void CopyTokens(const Value& from, size_t tokens);

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };

  Value(ONNXTensorElementDataType type, Shape shape, Owned<OrtValue> value) : type_(type), shape_(std::move(shape)), value_(std::move(value)) {}

  ONNXTensorElementDataType type_;
  Shape shape_;
  // Declared before the value that refers to it.
  std::unique_ptr<std::byte, Free> memory_;
  Owned<OrtValue> value_;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

struct ModelOptions {
  // The .onnx file, unless `bytes` holds the model.
  std::string path;
  std::vector<std::byte> bytes;
  // External data of a model in memory, by their name in the model.
  std::vector<std::pair<std::string, std::vector<char>>> external_data;
  std::string operators;
  // 0: ONNX Runtime chooses.
  int intra_threads = 0;
  int inter_threads = 0;
  GraphOptimizationLevel optimisation = ORT_ENABLE_ALL;
  ExecutionMode mode = ORT_SEQUENTIAL;
  int log_severity = ORT_LOGGING_LEVEL_ERROR;
  std::vector<std::pair<std::string, int64_t>> free_dimensions;
  std::vector<std::pair<std::string, std::string>> config;
};

class Model {
 public:
  // Throws ort::Refusal.
  Model(const Runtime& runtime, ModelOptions options);

  const OrtApi& api() const { return api_; }
  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }

  struct Bound {
    std::string name;
    // For an output: the target; null for a new one.
    std::shared_ptr<Value> value;
  };

  // Runs, and sets the outputs that were null. Throws ort::Refusal.
  void Run(std::span<const Bound> inputs, std::span<Bound> outputs);

  // As in Decoder.
  void Cancel();
  void Resume();

 private:
  const OrtApi& api_;
  // Declared before the session, which refers to it.
  ModelOptions options_;
  Owned<OrtSession> session_;
  Owned<OrtRunOptions> run_options_;
  std::vector<Port> inputs_;
  std::vector<Port> outputs_;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_MODEL_H_
