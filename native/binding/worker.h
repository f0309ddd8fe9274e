// A thread that works for one object of JavaScript, and the way back to the thread of its event loop.
//
// Work may last for minutes, which is why it is not done by libuv's few threads. A worker keeps the event loop alive while
// it works and no longer. When its environment or the process ends during work, the work is interrupted and waited for:
// threads must not outlive what they use.
#ifndef LACUNA_BINDING_WORKER_H_
#define LACUNA_BINDING_WORKER_H_

#include <napi.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace lacuna::binding {

class Worker {
 public:
  // Called on the event loop's thread, as is all of this class but Send.
  using Message = std::function<void(Napi::Env)>;
  // What `work` failed with, or null.
  using Done = std::function<void(Napi::Env, const std::string* failure)>;

  // `interrupt` makes work that is running end soon; it is called on the event loop's thread.
  Worker(Napi::Env env, std::function<void()> interrupt);
  ~Worker() { Stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Does `work` on the thread, then `done`. One at a time: not to be called before `done` was.
  void Start(std::function<void()> work, Done done);
  bool is_working() const { return is_working_; }
  // Called by work: has `message` called after those that were sent before it.
  void Send(Message message);
  // Ends the thread, after the work that is running. May be called again; nothing can be started any more.
  void Stop();

 private:
  static void Deliver(napi_env env, napi_value function, void* context, void* data);
  static void OnTeardown(void* worker);
  void Loop();
  void Join();

  friend class LiveWorkers;

  napi_env env_;
  std::function<void()> interrupt_;
  napi_threadsafe_function loop_ = nullptr;
  // Of the event loop's thread.
  bool is_working_ = false;
  bool is_stopped_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void()> work_;
  Done done_;
  bool is_ending_ = false;
  std::thread thread_;
};

// To be called once an environment. When the process exits, destructors of ONNX Runtime's statics run in an order of their
// own; so work is ended at Node's event "exit", before any of them. The C library's handler is there for exits without it.
void EndWorkersAtExit(Napi::Env env);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_WORKER_H_
