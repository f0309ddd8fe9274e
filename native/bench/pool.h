// Threads and a clock for benchmarks.
#ifndef LACUNA_BENCH_POOL_H_
#define LACUNA_BENCH_POOL_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

#include "kernels/parallel.h"

namespace lacuna {

// Seconds.
inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Threads that spin between calls, like those of an ONNX Runtime session.
class Pool {
 public:
  explicit Pool(size_t threads) : threads_(threads) {
    for (size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { Work(i); });
  }
  ~Pool() {
    stop_ = true;
    epoch_.fetch_add(1);
    for (std::thread& worker : workers_) worker.join();
  }
  Parallel parallel() {
    return {this, threads_, [](void* state, size_t tasks, void (*task)(void*, size_t), void* argument) {
              static_cast<Pool*>(state)->Run(tasks, task, argument);
            }};
  }

 private:
  void Run(size_t tasks, void (*task)(void*, size_t), void* argument) {
    tasks_ = tasks;
    task_ = task;
    argument_ = argument;
    left_.store(threads_ - 1, std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    for (size_t i = 0; i < tasks; i += threads_) task(argument, i);
    while (left_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  }
  void Work(size_t index) {
    for (size_t seen = 0;;) {
      while (epoch_.load(std::memory_order_acquire) == seen) std::this_thread::yield();
      seen = epoch_.load(std::memory_order_acquire);
      if (stop_) return;
      for (size_t i = index; i < tasks_; i += threads_) task_(argument_, i);
      left_.fetch_sub(1, std::memory_order_release);
    }
  }

  const size_t threads_;
  std::atomic<size_t> epoch_{0}, left_{0};
  std::atomic<bool> stop_{false};
  size_t tasks_ = 0;
  void (*task_)(void*, size_t) = nullptr;
  void* argument_ = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace lacuna

#endif  // LACUNA_BENCH_POOL_H_
