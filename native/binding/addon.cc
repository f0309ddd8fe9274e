// The decoder as Node sees it: promises and typed arrays, and no work on the thread of the event loop.
//
// Whatever a caller does wrong is an exception or a rejected promise. Arrays of theirs are read and written only on their
// own thread, where nobody can detach them meanwhile.
#include <napi.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "binding/decoder.h"

namespace lacuna::binding {
namespace {

// Runs `work` on one of Node's threads, then `done` on its own, with what failed or nothing; `done` settles the promise.
class Job : public Napi::AsyncWorker {
 public:
  using Work = std::function<void()>;
  using Done = std::function<void(Napi::Env, const Napi::Promise::Deferred&, const Napi::Error*)>;

  static Napi::Value Start(Napi::Env env, Work work, Done done) {
    Job* job = new Job(env, std::move(work), std::move(done));
    const Napi::Promise promise = job->deferred_.Promise();
    job->Queue();
    return promise;
  }

 private:
  Job(Napi::Env env, Work work, Done done)
      : Napi::AsyncWorker(env, "lacuna"), deferred_(env), work_(std::move(work)), done_(std::move(done)) {}

  void Execute() override {
    try {
      work_();
    } catch (const std::bad_alloc&) {
      SetError("out of memory");
    } catch (const std::exception& error) {
      SetError(error.what());
    }
  }
  void OnOK() override { Settle(nullptr); }
  void OnError(const Napi::Error& error) override { Settle(&error); }

  void Settle(const Napi::Error* failure) {
    try {
      done_(Env(), deferred_, failure);
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    }
  }

  Napi::Promise::Deferred deferred_;
  Work work_;
  Done done_;
};

// A decoder does one thing at a time. It goes when it is disposed of, or forgotten, and no job works for it any more.
struct Handle {
  std::unique_ptr<Decoder> decoder;
  bool is_busy = false;
  bool is_disposed = false;
};

class NativeDecoder : public Napi::ObjectWrap<NativeDecoder> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativeDecoder",
                       {
                           InstanceMethod<&NativeDecoder::Feed>("feed"),
                           InstanceMethod<&NativeDecoder::Rewind>("rewind"),
                           InstanceMethod<&NativeDecoder::Dispose>("dispose"),
                           InstanceAccessor<&NativeDecoder::Length>("length"),
                           InstanceAccessor<&NativeDecoder::Vocab>("vocab"),
                       });
  }

  explicit NativeDecoder(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeDecoder>(info) {
    if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "decoders are made by open()");
    handle_ = *info[0].As<Napi::External<std::shared_ptr<Handle>>>().Data();
  }

 private:
  // feed(tokens: BigInt64Array, logits?: Float32Array): Promise<void>
  Napi::Value Feed(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const size_t vocab = Idle(env).vocab();
    if (!IsArray(info[0], napi_bigint64_array)) throw Napi::TypeError::New(env, "tokens must be a BigInt64Array");
    const bool is_wanted = !info[1].IsUndefined();
    if (is_wanted && !(IsArray(info[1], napi_float32_array) && info[1].As<Napi::Float32Array>().ElementLength() == vocab))
      throw Napi::TypeError::New(env, "logits must be a Float32Array of " + std::to_string(vocab));
    const auto array = info[0].As<Napi::BigInt64Array>();
    auto tokens = std::make_shared<std::vector<int64_t>>(array.Data(), array.Data() + array.ElementLength());
    for (const int64_t token : *tokens)
      if (token < 0 || static_cast<size_t>(token) >= vocab)
        throw Napi::RangeError::New(env, "there is no token " + std::to_string(token) + " of " + std::to_string(vocab));
    auto logits = std::make_shared<std::vector<float>>(is_wanted ? vocab : 0);
    auto target = std::make_shared<Napi::ObjectReference>();
    if (is_wanted) *target = Napi::Persistent(info[1].As<Napi::Object>());
    return Run(
        env, [handle = handle_, tokens, logits] { handle->decoder->Feed(*tokens, *logits); },
        [logits, target](Napi::Env e) {
          if (target->IsEmpty()) return;
          auto out = target->Value().As<Napi::Float32Array>();
          if (out.ElementLength() != logits->size()) throw Napi::TypeError::New(e, "the array for logits was detached");
          std::copy(logits->begin(), logits->end(), out.Data());
        });
  }

  Napi::Value Rewind(const Napi::CallbackInfo& info) {
    Decoder& decoder = Idle(info.Env());
    const int64_t length = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : -1;
    if (length < 0 || static_cast<size_t>(length) > decoder.length())
      throw Napi::RangeError::New(info.Env(), "a length from 0 to " + std::to_string(decoder.length()) + " is wanted");
    decoder.Rewind(static_cast<size_t>(length));
    return info.Env().Undefined();
  }

  Napi::Value Length(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(Idle(info.Env()).length()));
  }

  Napi::Value Vocab(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(Idle(info.Env()).vocab()));
  }

  // dispose(): a feed that is running fails soon; the memory goes when it has ended. May be called again.
  Napi::Value Dispose(const Napi::CallbackInfo& info) {
    handle_->is_disposed = true;
    if (handle_->is_busy) {
      handle_->decoder->Cancel();
    } else {
      handle_->decoder.reset();
    }
    return info.Env().Undefined();
  }

  static bool IsArray(const Napi::Value& value, napi_typedarray_type type) {
    return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
  }

  Decoder& Idle(Napi::Env env) {
    if (handle_->is_disposed) throw Napi::Error::New(env, "the decoder was disposed of");
    if (handle_->is_busy) throw Napi::Error::New(env, "the decoder is busy: one call at a time");
    return *handle_->decoder;
  }

  Napi::Value Run(Napi::Env env, Job::Work work, std::function<void(Napi::Env)> finish) {
    handle_->is_busy = true;
    const auto done = [handle = handle_, finish = std::move(finish)](
                          Napi::Env e, const Napi::Promise::Deferred& deferred, const Napi::Error* failure) {
      handle->is_busy = false;
      if (handle->is_disposed) handle->decoder.reset();
      if (failure != nullptr) return deferred.Reject(failure->Value());
      finish(e);
      deferred.Resolve(e.Undefined());
    };
    return Job::Start(env, std::move(work), done);
  }

  std::shared_ptr<Handle> handle_;
};

std::string StringOf(const Napi::Object& options, const char* name, bool is_needed) {
  const Napi::Value value = options.Get(name);
  if (value.IsString()) return value.As<Napi::String>();
  if (is_needed || !value.IsUndefined()) throw Napi::TypeError::New(options.Env(), std::string(name) + " must be a string");
  return "";
}

// open({ runtime, model, operators?, threads? }): Promise<NativeDecoder>
Napi::Value Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsObject()) throw Napi::TypeError::New(env, "options must be an object");
  const auto given = info[0].As<Napi::Object>();
  const std::string runtime = StringOf(given, "runtime", true);
  DecoderOptions options;
  options.model = StringOf(given, "model", true);
  options.operators = StringOf(given, "operators", false);
  const Napi::Value threads = given.Get("threads");
  if (!threads.IsUndefined()) {
    options.threads = threads.IsNumber() ? threads.As<Napi::Number>().Int32Value() : -1;
    if (options.threads < 1) throw Napi::TypeError::New(env, "threads must be a number above 0");
  }
  auto handle = std::make_shared<Handle>();
  return Job::Start(
      env,
      [handle, runtime, options] { handle->decoder = std::make_unique<Decoder>(Runtime::Open(runtime), options); },
      [handle](Napi::Env e, const Napi::Promise::Deferred& deferred, const Napi::Error* failure) {
        if (failure != nullptr) return deferred.Reject(failure->Value());
        auto* constructor = e.GetInstanceData<Napi::FunctionReference>();
        const auto shared = std::make_unique<std::shared_ptr<Handle>>(handle);
        deferred.Resolve(constructor->New({Napi::External<std::shared_ptr<Handle>>::New(e, shared.get())}));
      });
}

// Each of a process's environments (worker threads have their own) gets its own class.
Napi::Object Initialize(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Napi::FunctionReference(Napi::Persistent(NativeDecoder::Define(env))));
  exports.Set("open", Napi::Function::New(env, Open, "open"));
  return exports;
}

}  // namespace
}  // namespace lacuna::binding

static Napi::Object InitializeModule(Napi::Env env, Napi::Object exports) {
  return lacuna::binding::Initialize(env, exports);
}

NODE_API_MODULE(lacuna_node, InitializeModule)
