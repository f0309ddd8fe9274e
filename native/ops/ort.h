// The part of ONNX Runtime's C API that operators need: checked calls, tensors as pointers and shapes, and operators as
// classes.
//
// The host's library is never linked. All calls go through the table of functions from the host. 17 is the first
// version of that table that can run work on the session's threads, and a library must not ask for a newer version than
// its host has.
#ifndef LACUNA_OPS_ORT_H_
#define LACUNA_OPS_ORT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/parallel.h"
#include "onnxruntime_c_api.h"

namespace lacuna::ort {

constexpr uint32_t kApiVersion = 17;

// A mistake of a model or its host. It never leaves this library: `Guarded` turns it into a status.
class Refusal : public std::runtime_error {
 public:
  Refusal(OrtErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  OrtErrorCode code() const { return code_; }

 private:
  OrtErrorCode code_;
};

// Throws the failure of an API call.
void Check(const OrtApi& api, OrtStatus* status);

template <class Function>
OrtStatus* Guarded(const OrtApi& api, Function function) noexcept {
  try {
    function();
    return nullptr;
  } catch (const Refusal& refusal) {
    return api.CreateStatus(refusal.code(), refusal.what());
  } catch (const std::bad_alloc&) {
    return api.CreateStatus(ORT_FAIL, "lacuna: out of memory");
  } catch (const std::exception& error) {
    return api.CreateStatus(ORT_FAIL, error.what());
  } catch (...) {
    return api.CreateStatus(ORT_FAIL, "lacuna: an unknown failure");
  }
}

class Shape {
 public:
  static constexpr size_t kMostDimensions = 8;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dimensions);

  void Resize(size_t rank);
  size_t rank() const { return rank_; }
  int64_t operator[](size_t i) const { return dimensions_[i]; }
  int64_t* data() { return dimensions_.data(); }
  const int64_t* data() const { return dimensions_.data(); }
  // Throws if they are too many for memory.
  size_t elements() const;
  bool operator==(const Shape& other) const;
  std::string Text() const;

 private:
  size_t rank_ = 0;
  std::array<int64_t, kMostDimensions> dimensions_{};
};

// A tensor's elements. `data` is null if an optional input is missing.
struct Tensor {
  const void* data = nullptr;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  Shape shape;

  bool given() const { return data != nullptr; }
  template <typename T>
  const T* As() const {
    return static_cast<const T*>(data);
  }
};

Tensor View(const OrtApi& api, const OrtValue* value);

// A node while its kernel is made.
class Node {
 public:
  Node(const OrtApi& api, const OrtKernelInfo* info, const std::string& op_type) : api_(api), info_(info), op_type_(op_type) {}

  const std::string& op_type() const { return op_type_; }
  float Float(const char* attribute) const;
  int64_t Int(const char* attribute) const;
  // Throws unless it is from `least` to `most`.
  int64_t Int(const char* attribute, int64_t least, int64_t most) const;
  std::string String(const char* attribute) const;
  // Whether it is set. A missing attribute is not set.
  bool Flag(const char* attribute) const;
  bool HasFloat(const char* attribute) const;
  bool HasInt(const char* attribute) const;
  // The enum value whose name an attribute has. Throws for another name.
  template <class Enum, size_t kCount>
  Enum Word(const char* attribute, const char* const (&names)[kCount]) const {
    return static_cast<Enum>(IndexOf(attribute, names, kCount));
  }
  // Whether an optional input is present, computed or constant.
  bool HasInput(size_t input) const;
  // An initializer. Empty if the input is computed or missing.
  Tensor Constant(size_t input) const;

 private:
  size_t IndexOf(const char* attribute, const char* const* names, size_t count) const;
  [[noreturn]] void Lacks(const char* attribute, OrtStatus* status) const;

  const OrtApi& api_;
  const OrtKernelInfo* info_;
  const std::string& op_type_;
};

// One call of a kernel.
class Call {
 public:
  Call(const OrtApi& api, OrtKernelContext* context, const std::string& op_type)
      : api_(api), context_(context), op_type_(op_type) {}

  Tensor Input(size_t index) const;
  template <typename T>
  T* Output(size_t index, const Shape& shape) const {
    return static_cast<T*>(OutputData(index, shape, false));
  }
  // Null if the output is not wanted.
  template <typename T>
  T* OptionalOutput(size_t index, const Shape& shape) const {
    return static_cast<T*>(OutputData(index, shape, true));
  }
  // The session's threads.
  Parallel Threads();
  [[noreturn]] void Refuse(const std::string& message) const;
  // Throws unless `what` is from 1 to `most`: kernels divide by dimensions and multiply them.
  void ExpectSize(const char* what, int64_t size, int64_t most) const;
  // Throws unless an input has the wanted shape.
  void Expect(const char* input, const Tensor& tensor, const Shape& wanted) const;

 private:
  void* OutputData(size_t index, const Shape& shape, bool optional) const;

  const OrtApi& api_;
  OrtKernelContext* context_;
  const std::string& op_type_;
};

struct Port {
  ONNXTensorElementDataType type;
  bool optional = false;
};

// An operator with kernels of class Kernel: Kernel(Node), Compute(Call&), and the lists kInputs, kOutputs.
template <class Kernel>
class Operator final : public OrtCustomOp {
 public:
  explicit Operator(std::string op_type) : OrtCustomOp{}, op_type_(std::move(op_type)) {
    version = kApiVersion;
    GetName = [](const OrtCustomOp* op) { return Self(op).op_type_.c_str(); };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp*) { return Kernel::kInputs.size(); };
    GetInputType = [](const OrtCustomOp*, size_t i) { return Kernel::kInputs[i].type; };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t i) { return CharacteristicOf(Kernel::kInputs[i]); };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    GetOutputTypeCount = [](const OrtCustomOp*) { return Kernel::kOutputs.size(); };
    GetOutputType = [](const OrtCustomOp*, size_t i) { return Kernel::kOutputs[i].type; };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t i) { return CharacteristicOf(Kernel::kOutputs[i]); };
    GetVariadicInputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 0; };
    GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = [](const OrtCustomOp* op, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
      return Guarded(*api, [&] { *kernel = new Instance(*api, Self(op), info); });
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      return static_cast<Instance*>(kernel)->Compute(context);
    };
    KernelDestroy = [](void* kernel) { delete static_cast<Instance*>(kernel); };
  }

 private:
  struct Instance {
    Instance(const OrtApi& api_, const Operator& op_, const OrtKernelInfo* info)
        : api(api_), op(op_), kernel(Node(api, info, op.op_type_)) {}

    OrtStatus* Compute(OrtKernelContext* context) noexcept {
      return Guarded(api, [&] {
        Call call(api, context, op.op_type_);
        kernel.Compute(call);
      });
    }

    const OrtApi& api;
    const Operator& op;
    Kernel kernel;
  };

  static const Operator& Self(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }
  static OrtCustomOpInputOutputCharacteristic CharacteristicOf(const Port& port) {
    return port.optional ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
  }

  std::string op_type_;
};

// Operators of one kind, made once and kept as long as sessions of the process may use them.
using Operators = std::vector<std::shared_ptr<OrtCustomOp>>;

// One for each body that a model may hold: <name>_<operator set>_<number>.
template <class Kernel>
void AddOperators(Operators& operators, const std::string& name, int operator_set, int bodies) {
  for (int number = 0; number < bodies; ++number)
    operators.push_back(
        std::make_shared<Operator<Kernel>>(name + "_" + std::to_string(operator_set) + "_" + std::to_string(number)));
}

}  // namespace lacuna::ort

#endif  // LACUNA_OPS_ORT_H_
