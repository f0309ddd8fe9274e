#include "binding/node_model.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/arguments.h"
#include "binding/handle.h"
#include "binding/model.h"

namespace lacuna::binding {
namespace {

using ModelHandle = Handle<Model>;
using SharedValue = std::shared_ptr<Value>;

// Turns our own refusals into JavaScript exceptions.
template <class Function>
auto Thrown(Napi::Env env, Function function) {
  try {
    return function();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

// Both classes of an environment.
struct Classes {
  Napi::FunctionReference value;
  Napi::FunctionReference model;
};

// One of our tensors: { type, dims, buffer(), copyTokens(from, tokens) }.
class NativeValue : public Napi::ObjectWrap<NativeValue> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativeValue",
                       {
                           InstanceAccessor<&NativeValue::Type>("type"),
                           InstanceAccessor<&NativeValue::Dims>("dims"),
                           InstanceMethod<&NativeValue::Buffer>("buffer"),
                           InstanceMethod<&NativeValue::CopyTokens>("copyTokens"),
                       });
  }

  static Napi::Value Wrap(Napi::Env env, const Classes& classes, SharedValue value) {
    return classes.value.New({Napi::External<SharedValue>::New(env, &value)});
  }

  static const SharedValue& Unwrapped(const Classes& classes, const Napi::Value& given, const char* name) {
    if (!given.IsObject() || !given.As<Napi::Object>().InstanceOf(classes.value.Value()))
      throw Napi::TypeError::New(given.Env(), std::string(name) + " must be a value of this addon's");
    return Unwrap(given.As<Napi::Object>())->value_;
  }

  explicit NativeValue(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeValue>(info) {
    if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "values are made by models");
    value_ = *info[0].As<Napi::External<SharedValue>>().Data();
    if (value_->holders++ == 0) Report(info.Env(), true);
  }

  void Finalize(Napi::Env env) override {
    if (value_ != nullptr && --value_->holders == 0) Report(env, false);
  }

 private:
  // Reports to the collector how much memory such a small object holds: once for all objects, and not in addition to an
  // array buffer of the same memory, which the collector counts itself.
  void Report(Napi::Env env, bool is_reported) {
    if (value_->is_reported == is_reported) return;
    value_->is_reported = is_reported;
    const auto bytes = static_cast<int64_t>(value_->bytes());
    Napi::MemoryManagement::AdjustExternalMemory(env, is_reported ? bytes : -bytes);
  }

  Napi::Value Type(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), value_->type()); }

  Napi::Value Dims(const Napi::CallbackInfo& info) {
    auto dims = Napi::Array::New(info.Env(), value_->shape().size());
    for (uint32_t i = 0; i < dims.Length(); ++i) dims.Set(i, static_cast<double>(value_->shape()[i]));
    return dims;
  }

  // buffer(): ArrayBuffer, the tensor's own memory, or a copy if the host allows no other.
  Napi::Value Buffer(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (value_->bytes() == 0) return Napi::ArrayBuffer::New(env, 0);
    auto* kept = new SharedValue(value_);
    const auto release = [](napi_env, void*, void* hint) { delete static_cast<SharedValue*>(hint); };
    napi_value buffer = nullptr;
    if (napi_create_external_arraybuffer(env, value_->data(), value_->bytes(), release, kept, &buffer) == napi_ok) {
      Report(env, false);
      return Napi::Value(env, buffer);
    }
    delete kept;
    auto copy = Napi::ArrayBuffer::New(env, value_->bytes());
    std::memcpy(copy.Data(), value_->data(), value_->bytes());
    return copy;
  }

  // copyTokens(from: NativeValue, tokens: number): copies the first tokens of another cache.
  Napi::Value CopyTokens(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto& classes = *env.GetInstanceData<Classes>();
    const SharedValue& from = Unwrapped(classes, info[0], "from");
    if (!info[1].IsNumber() || info[1].As<Napi::Number>().Int64Value() < 0) throw Napi::TypeError::New(env, "tokens must be a number");
    const auto tokens = static_cast<size_t>(info[1].As<Napi::Number>().Int64Value());
    Thrown(env, [&] { value_->CopyTokens(*from, tokens); });
    return env.Undefined();
  }

  SharedValue value_;
};

std::vector<Model::Bound> BoundOf(const Classes& classes, const Napi::Value& given, bool may_be_null) {
  const Napi::Env env = given.Env();
  if (!given.IsArray()) throw Napi::TypeError::New(env, "inputs and outputs must be arrays");
  const auto list = given.As<Napi::Array>();
  std::vector<Model::Bound> bound;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object pair = ObjectOf(list.Get(i), "an input or output");
    const Napi::Value value = pair.Get("value");
    const bool is_absent = may_be_null && (value.IsNull() || value.IsUndefined());
    bound.push_back({NeededString(pair, "name"), is_absent ? nullptr : NativeValue::Unwrapped(classes, value, "value")});
  }
  return bound;
}

Napi::Value Describe(Napi::Env env, const std::vector<Port>& ports) {
  auto list = Napi::Array::New(env, ports.size());
  for (uint32_t i = 0; i < ports.size(); ++i) {
    const Port& port = ports[i];
    auto shape = Napi::Array::New(env, port.shape.size());
    for (uint32_t d = 0; d < port.shape.size(); ++d) {
      if (port.shape[d] < 0) {
        shape.Set(d, port.symbols[d]);
      } else {
        shape.Set(d, static_cast<double>(port.shape[d]));
      }
    }
    auto described = Napi::Object::New(env);
    described.Set("name", port.name);
    described.Set("isTensor", port.is_tensor);
    described.Set("type", static_cast<double>(port.type));
    described.Set("shape", shape);
    list.Set(i, described);
  }
  return list;
}

std::pair<const std::byte*, size_t> BytesIn(const Napi::Value& given, const char* name) {
  if (!given.IsTypedArray()) throw Napi::TypeError::New(given.Env(), std::string(name) + " must be a typed array");
  const auto array = given.As<Napi::TypedArray>();
  const auto* start = static_cast<const std::byte*>(array.ArrayBuffer().Data());
  return {start == nullptr ? start : start + array.ByteOffset(), array.ByteLength()};
}

class NativeModel : public Napi::ObjectWrap<NativeModel> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativeModel",
                       {
                           InstanceAccessor<&NativeModel::Inputs>("inputs"),
                           InstanceAccessor<&NativeModel::Outputs>("outputs"),
                           InstanceMethod<&NativeModel::CreateValue>("createValue"),
                           InstanceMethod<&NativeModel::Run>("run"),
                           InstanceMethod<&NativeModel::Dispose>("dispose"),
                       });
  }

  explicit NativeModel(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeModel>(info) {
    if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "models are made by openModel()");
    handle_ = *info[0].As<Napi::External<std::shared_ptr<ModelHandle>>>().Data();
    api_ = &handle_->Idle(info.Env()).api();
  }

 private:
  Napi::Value Inputs(const Napi::CallbackInfo& info) { return Describe(info.Env(), handle_->Idle(info.Env()).inputs()); }
  Napi::Value Outputs(const Napi::CallbackInfo& info) { return Describe(info.Env(), handle_->Idle(info.Env()).outputs()); }

  // createValue(type: number, dims: number[], data?: TypedArray): NativeValue, with a copy of the data, or zeros
  Napi::Value CreateValue(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsNumber() || !info[1].IsArray()) throw Napi::TypeError::New(env, "a type and dimensions are wanted");
    const auto type = static_cast<ONNXTensorElementDataType>(info[0].As<Napi::Number>().Int32Value());
    const auto dims = info[1].As<Napi::Array>();
    Value::Shape shape;
    for (uint32_t i = 0; i < dims.Length(); ++i) {
      const Napi::Value dimension = dims.Get(i);
      const double size = dimension.IsNumber() ? dimension.As<Napi::Number>().DoubleValue() : -1;
      if (!(size >= 0 && size <= kMostInteger) || size != std::floor(size))
        throw Napi::RangeError::New(env, "a dimension must be an integer of at least 0");
      shape.push_back(static_cast<int64_t>(size));
    }
    const SharedValue value = Thrown(env, [&] { return Value::Make(*api_, type, std::move(shape)); });
    if (!info[2].IsUndefined()) {
      const auto [data, bytes] = BytesIn(info[2], "data");
      if (bytes != value->bytes())
        throw Napi::RangeError::New(env, "a tensor of " + std::to_string(value->bytes()) + " bytes is given " + std::to_string(bytes));
      if (bytes > 0) std::memcpy(value->data(), data, bytes);
    }
    return NativeValue::Wrap(env, *env.GetInstanceData<Classes>(), value);
  }

  // run(inputs: { name, value }[], outputs: { name, value: NativeValue | null }[]): Promise<NativeValue[]>, the
  // outputs' values
  Napi::Value Run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Model& model = handle_->Idle(env);
    const auto& classes = *env.GetInstanceData<Classes>();
    const auto inputs = std::make_shared<std::vector<Model::Bound>>(BoundOf(classes, info[0], false));
    const auto outputs = std::make_shared<std::vector<Model::Bound>>(BoundOf(classes, info[1], true));
    return handle_->Run(
        env, [&model, inputs, outputs] { model.Run(*inputs, *outputs); },
        [outputs](Napi::Env e) -> Napi::Value {
          auto values = Napi::Array::New(e, outputs->size());
          for (uint32_t i = 0; i < outputs->size(); ++i)
            values.Set(i, NativeValue::Wrap(e, *e.GetInstanceData<Classes>(), (*outputs)[i].value));
          return values;
        });
  }

  Napi::Value Dispose(const Napi::CallbackInfo& info) { return handle_->Dispose(info.Env()); }

  std::shared_ptr<ModelHandle> handle_;
  const OrtApi* api_ = nullptr;
};

// [name, value][]; `read` converts the second.
template <class T, class Read>
std::vector<std::pair<std::string, T>> PairsOf(const Napi::Object& options, const char* name, Read read) {
  std::vector<std::pair<std::string, T>> pairs;
  const Napi::Value given = options.Get(name);
  if (given.IsUndefined()) return pairs;
  if (!given.IsArray()) throw Napi::TypeError::New(options.Env(), std::string(name) + " must be an array of pairs");
  const auto list = given.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object pair = ObjectOf(list.Get(i), name);
    const Napi::Value key = pair.Get(uint32_t{0});
    if (!key.IsString()) throw Napi::TypeError::New(options.Env(), std::string(name) + " must be an array of pairs");
    pairs.emplace_back(key.As<Napi::String>(), read(pair.Get(uint32_t{1})));
  }
  return pairs;
}

ModelOptions ModelOptionsOf(const Napi::Object& given) {
  ModelOptions options;
  options.path = StringOf(given, "path").value_or("");
  if (options.path.empty()) {
    const auto [data, bytes] = BytesIn(given.Get("bytes"), "bytes");
    options.bytes.assign(data, data + bytes);
  }
  options.external_data = PairsOf<std::vector<char>>(given, "externalData", [](const Napi::Value& value) {
    const auto [data, bytes] = BytesIn(value, "external data");
    const auto* start = reinterpret_cast<const char*>(data);
    return std::vector<char>(start, start + bytes);
  });
  options.operators = StringOf(given, "operators").value_or("");
  options.intra_threads = static_cast<int>(NumberOf(given, "intraThreads", 0, 0, kMostThreads));
  options.inter_threads = static_cast<int>(NumberOf(given, "interThreads", 0, 0, kMostThreads));
  options.optimisation = static_cast<GraphOptimizationLevel>(NumberOf(given, "optimisation", ORT_ENABLE_ALL, 0, ORT_ENABLE_ALL));
  options.mode = given.Get("isParallel").ToBoolean() ? ORT_PARALLEL : ORT_SEQUENTIAL;
  options.log_severity = static_cast<int>(NumberOf(given, "logSeverity", ORT_LOGGING_LEVEL_ERROR, 0, ORT_LOGGING_LEVEL_FATAL));
  options.free_dimensions = PairsOf<int64_t>(given, "freeDimensions", [](const Napi::Value& value) {
    if (!value.IsNumber()) throw Napi::TypeError::New(value.Env(), "a dimension must be a number");
    return value.As<Napi::Number>().Int64Value();
  });
  options.config = PairsOf<std::string>(given, "config", [](const Napi::Value& value) { return std::string(value.ToString()); });
  return options;
}

Napi::Value OpenModel(const Napi::CallbackInfo& info) {
  const auto given = ObjectOf(info[0], "options");
  const std::string runtime = NeededString(given, "runtime");
  const auto options = std::make_shared<ModelOptions>(ModelOptionsOf(given));
  return ModelHandle::Open(
      info.Env(), "session",
      [runtime, options] { return std::make_unique<Model>(Runtime::Open(runtime), std::move(*options)); },
      [](Napi::Env e, const std::shared_ptr<ModelHandle>& handle) -> Napi::Value {
        auto shared = handle;
        const auto& classes = *e.GetInstanceData<Classes>();
        return classes.model.New({Napi::External<std::shared_ptr<ModelHandle>>::New(e, &shared)});
      });
}

}  // namespace

void ExportModel(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Classes{Napi::Persistent(NativeValue::Define(env)), Napi::Persistent(NativeModel::Define(env))});
  exports.Set("openModel", Napi::Function::New(env, OpenModel, "openModel"));
}

}  // namespace lacuna::binding
