// What one object of JavaScript owns: a thing of ours, and the thread that works with it.
//
// Whatever a caller does wrong is an exception or a rejected promise. Arrays of theirs are read and written only on their
// own thread, where nobody can detach them meanwhile.
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

// T has Cancel() and Resume(). One call at a time. `name` is what errors call it. All is called on the event loop's thread.
template <class T>
class Handle : public std::enable_shared_from_this<Handle<T>> {
 public:
  using Make = std::function<std::unique_ptr<T>()>;
  // Turns what was made, or done, into what the promise is resolved with.
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

  // Throws to JavaScript unless there is something to call and nothing is running.
  T& Idle(Napi::Env env) {
    if (is_disposed_) throw Napi::Error::New(env, "the " + name_ + " was disposed of");
    if (worker_.is_working()) throw Napi::Error::New(env, "the " + name_ + " is busy: one call at a time");
    return *object_;
  }

  // Does `work` on the thread. It must hold nothing of JavaScript's; `finish` may, and outlives it.
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

  // From work: has `message` called on the event loop's thread.
  void Send(Worker::Message message) { worker_.Send(std::move(message)); }

  void Interrupt() {
    if (object_ != nullptr) object_->Cancel();
  }

  // A call that is running fails soon; resolved when the memory is free. May be called again.
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
  // Goes first: its thread works with the others.
  Worker worker_;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_HANDLE_H_
