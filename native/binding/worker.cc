#include "binding/worker.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <set>
#include <utility>

namespace lacuna::binding {

// All workers of the process with running threads.
class LiveWorkers {
 public:
  static LiveWorkers& Get() {
    static LiveWorkers* const live = new LiveWorkers;
    return *live;
  }

  void Add(Worker* worker) {
    const std::lock_guard<std::mutex> lock(mutex_);
    workers_.insert(worker);
  }
  void Remove(Worker* worker) {
    const std::lock_guard<std::mutex> lock(mutex_);
    workers_.erase(worker);
  }
  // Those of an environment, or of all if it is null.
  void End(napi_env env) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto is_meant = [env](const Worker* worker) { return env == nullptr || worker->env_ == env; };
    for (Worker* worker : workers_)
      if (is_meant(worker)) worker->interrupt_();
    for (Worker* worker : workers_)
      if (is_meant(worker)) worker->Join();
  }

 private:
  std::mutex mutex_;
  std::set<Worker*> workers_;
};

Worker::Worker(Napi::Env env, std::function<void()> interrupt) : env_(env), interrupt_(std::move(interrupt)) {
  const Napi::String name = Napi::String::New(env, "lacuna");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, Deliver, &loop_) != napi_ok)
    throw Napi::Error::New(env, "cannot make a way back to the event loop");
  napi_unref_threadsafe_function(env, loop_);
  try {
    thread_ = std::thread([this] { Loop(); });
  } catch (const std::exception& error) {
    napi_release_threadsafe_function(loop_, napi_tsfn_release);
    throw Napi::Error::New(env, std::string("cannot start a thread: ") + error.what());
  }
  // Hooks run last in, first out: this one runs before the one that closes the way back.
  napi_add_env_cleanup_hook(env, OnTeardown, this);
  LiveWorkers::Get().Add(this);
}

void Worker::Start(std::function<void()> work, Done done) {
  is_working_ = true;
  napi_ref_threadsafe_function(env_, loop_);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    work_ = std::move(work);
    done_ = std::move(done);
  }
  wake_.notify_one();
}

void Worker::Send(Message message) {
  auto data = std::make_unique<Message>(std::move(message));
  // Messages that can no longer be delivered are leaked, because their contents must not be destroyed on this thread.
  napi_call_threadsafe_function(loop_, data.release(), napi_tsfn_nonblocking);
}

void Worker::Stop() {
  if (is_stopped_) return;
  is_stopped_ = true;
  napi_remove_env_cleanup_hook(env_, OnTeardown, this);
  LiveWorkers::Get().Remove(this);
  Join();
  napi_release_threadsafe_function(loop_, napi_tsfn_release);
}

void Worker::OnTeardown(void* data) {
  auto* worker = static_cast<Worker*>(data);
  if (worker->is_working_) worker->interrupt_();
  worker->Stop();
}

void Worker::Join() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_ending_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Worker::Loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return is_ending_ || work_ != nullptr; });
    if (work_ == nullptr) return;
    const std::function<void()> work = std::exchange(work_, nullptr);
    Done done = std::exchange(done_, nullptr);
    lock.unlock();
    std::unique_ptr<std::string> failure;
    try {
      work();
    } catch (const std::bad_alloc&) {
      failure = std::make_unique<std::string>("out of memory");
    } catch (const std::exception& error) {
      failure = std::make_unique<std::string>(error.what());
    } catch (...) {
      failure = std::make_unique<std::string>("an unknown failure");
    }
    const std::shared_ptr<std::string> shared = std::move(failure);
    Send([this, done = std::move(done), shared](Napi::Env env) {
      is_working_ = false;
      napi_unref_threadsafe_function(env, loop_);
      done(env, shared.get());
    });
    lock.lock();
  }
}

// `env` is null when the environment ends: nobody listens any more.
void Worker::Deliver(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<Message> message(static_cast<Message*>(data));
  if (env == nullptr) return;
  try {
    (*message)(Napi::Env(env));
  } catch (const Napi::Error& error) {
    // Nobody catches an exception of a callback: it becomes the process's uncaught exception.
    napi_fatal_exception(env, error.Value());
  } catch (const std::exception& error) {
    napi_fatal_exception(env, Napi::Error::New(env, error.what()).Value());
  }
}

void EndWorkersAtExit(Napi::Env env) {
  static const int is_registered = std::atexit([] { LiveWorkers::Get().End(nullptr); });
  (void)is_registered;
  const auto process = env.Global().Get("process").As<Napi::Object>();
  const auto end = [](const Napi::CallbackInfo& info) { LiveWorkers::Get().End(info.Env()); };
  process.Get("once").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), Napi::Function::New(env, end)});
}

}  // namespace lacuna::binding
