#include "binding/bandwidth.h"

#include <thread>
#include <vector>

#include "binding/arguments.h"
#include "kernels/bandwidth.h"

namespace lacuna::binding {
namespace {

void RunOnThreads(void*, size_t tasks, void (*task)(void*, size_t), void* argument) {
  std::vector<std::jthread> threads;
  for (size_t i = 1; i < tasks; ++i) threads.emplace_back(task, argument, i);
  task(argument, 0);
}

class Measurement final : public Napi::AsyncWorker {
 public:
  Measurement(Napi::Env env, size_t threads)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), threads_(threads) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { bandwidth_ = ReadBandwidth({nullptr, threads_, RunOnThreads}); }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), bandwidth_)); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  size_t threads_;
  double bandwidth_ = 0;
};

Napi::Value Start(const Napi::CallbackInfo& call) {
  const double threads = call[0].IsNumber() ? call[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(threads >= 1 && threads <= kMostThreads))
    throw Napi::RangeError::New(call.Env(), "readBandwidth: expected 1 to 256 threads");
  auto* const measurement = new Measurement(call.Env(), static_cast<size_t>(threads));  // Frees itself when it is done.
  measurement->Queue();
  return measurement->promise();
}

}  // namespace

void ExportBandwidth(Napi::Env env, Napi::Object exports) { exports.Set("readBandwidth", Napi::Function::New(env, Start)); }

}  // namespace lacuna::binding
