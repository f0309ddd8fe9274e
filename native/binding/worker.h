// A thread that works for one JavaScript object, and the way back to the thread of its event loop.
//
// Work may last for minutes, so libuv's few threads do not do it. A worker keeps the event loop alive only while it
// works. If its environment or the process ends during work, the work is interrupted and waited for, because threads
// must not outlive what they use.
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
  // Called on the event loop's thread, as are all methods except Send.
  using Message = std::function<void(Napi::Env)>;
  // The failure of `work`, or null.
  using Done = std::function<void(Napi::Env, const std::string* failure)>;

  // `interrupt` makes running work end soon. It is called on the event loop's thread.
  Worker(Napi::Env env, std::function<void()> interrupt);
  ~Worker() { Stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Does `work` on the thread, then `done`. One at a time: call it again only after `done`.
  void Start(std::function<void()> work, Done done);
  bool is_working() const { return is_working_; }
  // For use in `work`: calls `message` after earlier ones.
  void Send(Message message);
  // Ends the thread after the running work. May be called again. Afterwards nothing can be started.
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
  // Only on the event loop's thread.
  bool is_working_ = false;
  bool is_stopped_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void()> work_;
  Done done_;
  bool is_ending_ = false;
  std::thread thread_;
};

// Call it once for each environment. When the process exits, destructors of ONNX Runtime's statics run in an order of
// their own. So work ends at Node's event "exit", before any of them. The C library's handler covers exits without that
// event.
void EndWorkersAtExit(Napi::Env env);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_WORKER_H_
