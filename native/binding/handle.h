// The resources of one JavaScript object: an object of ours, and the thread that works with it.
//
// A caller's mistake is an exception or a rejected promise. The caller's arrays are read and written only on the
// caller's own thread, where nobody can detach them meanwhile.
#ifndef LACUNA_BINDING_HANDLE_H_
#define LACUNA_BINDING_HANDLE_H_

#include <napi.h>

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/worker.h"

namespace lacuna::binding {

// T has Cancel() and Resume(). One call at a time. Errors call it `name`. All methods are called on the event loop's
// thread.
template <class T>
class Handle : public std::enable_shared_from_this<Handle<T>> {
 public:
  using Make = std::function<std::unique_ptr<T>()>;
  // Turns the result into the value that the promise resolves with.
  using Made = std::function<Napi::Value(Napi::Env, const std::shared_ptr<Handle>&)>;
  using Finish = std::function<Napi::Value(Napi::Env)>;

  static Napi::Promise Open(Napi::Env env, const char* name, Make make, Made made) {
    const auto handle = std::make_shared<Handle>(env, name);
    auto object = std::make_shared<std::unique_ptr<T>>();
    return handle->Run(
        env, [object, make = std::move(make)] { *object = make(); },
        [handle, object, made = std::move(made)](Napi::Env e) {
          handle->object_ = std::move(*object);
          return made(e, handle);
        });
  }

  Handle(Napi::Env env, const char* name) : name_(name), worker_(env, [this] { Interrupt(); }) {}

  // Throws to JavaScript unless the object is open and nothing is running.
  T& Idle(Napi::Env env) {
    if (is_disposed_) throw Napi::Error::New(env, "the " + name_ + " was disposed of");
    if (worker_.is_working()) throw Napi::Error::New(env, "the " + name_ + " is busy: one call at a time");
    return *object_;
  }

  // Does `work` on the thread. `work` must hold nothing of JavaScript's. `finish` may, and lives longer.
  Napi::Promise Run(Napi::Env env, std::function<void()> work, Finish finish) {
    if (object_ != nullptr) object_->Resume();
    const auto deferred = Napi::Promise::Deferred::New(env);
    worker_.Start(std::move(work), [self = this->shared_from_this(), deferred, finish = std::move(finish)](
                                       Napi::Env e, const std::string* failure) {
      self->Settle(e, deferred, finish, failure);
      if (self->is_disposed_) self->Free(e);
    });
    return deferred.Promise();
  }

  // For use in `work`: calls `message` on the event loop's thread.
  void Send(Worker::Message message) { worker_.Send(std::move(message)); }

  void Interrupt() {
    if (object_ != nullptr) object_->Cancel();
  }

  // A running call fails soon. Resolves when the memory is free. May be called again.
  Napi::Promise Dispose(Napi::Env env) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    waiting_.push_back(deferred);
    is_disposed_ = true;
    if (worker_.is_working()) {
      Interrupt();
    } else {
      Free(env);
    }
    return deferred.Promise();
  }

 private:
  void Settle(Napi::Env env, const Napi::Promise::Deferred& deferred, const Finish& finish, const std::string* failure) {
    if (is_disposed_) return deferred.Reject(Napi::Error::New(env, "the " + name_ + " was disposed of during the call").Value());
    if (failure != nullptr) return deferred.Reject(Napi::Error::New(env, *failure).Value());
    try {
      deferred.Resolve(finish(env));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    } catch (const std::exception& error) {
      deferred.Reject(Napi::Error::New(env, error.what()).Value());
    }
  }

  void Free(Napi::Env env) {
    worker_.Stop();
    object_.reset();
    for (const Napi::Promise::Deferred& waiting : std::exchange(waiting_, {})) waiting.Resolve(env.Undefined());
  }

  const std::string name_;
  std::unique_ptr<T> object_;
  bool is_disposed_ = false;
  std::vector<Napi::Promise::Deferred> waiting_;
  // Destroyed first, because its thread works with the others.
  Worker worker_;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_HANDLE_H_
