// How kernels get threads: the caller brings them, and every kernel enters them once a call.
#ifndef LACUNA_KERNELS_PARALLEL_H_
#define LACUNA_KERNELS_PARALLEL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace lacuna {

// `run` calls task(argument, i) for i in [0, tasks), on one thread or several, in any order, and returns when all calls
// have returned. Tasks need not run at the same time. `workers` is the number of tasks worth starting.
struct Parallel {
  void* state = nullptr;
  size_t workers = 1;
  void (*run)(void* state, size_t tasks, void (*task)(void*, size_t), void* argument) = nullptr;
};

// All tasks on the calling thread.
inline void RunInTurn(void*, size_t tasks, void (*task)(void*, size_t), void* argument) {
  for (size_t i = 0; i < tasks; ++i) task(argument, i);
}

inline Parallel OnThisThread() { return {nullptr, 1, RunInTurn}; }

// The items of one call, numbered through all its phases. Workers claim them in order. An item of a later phase waits
// until all items before that phase are done. Running threads hold those items, so the wait ends with any number of
// threads. So one region serves all phases. A region for each phase would cost a wake-up for each.
class ClaimedItems {
 public:
  explicit ClaimedItems(size_t count) : count_(count) {}

  // The next item, or count() if none is left.
  size_t Claim() { return claimed_.fetch_add(1, std::memory_order_relaxed); }
  size_t count() const { return count_; }
  void Finish() { done_.fetch_add(1, std::memory_order_release); }

  // Whether the first `items` are done and their results visible.
  bool AreDone(size_t items) const { return done_.load(std::memory_order_acquire) >= items; }

  // Returns when they are.
  void WaitFor(size_t items) const {
    for (int spins = 0; !AreDone(items); ++spins) {
      // Phases are a few microseconds apart. After a longer wait, the other thread has lost its core.
      if (spins < kSpins) {
        Pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

 private:
  static constexpr int kSpins = 2000;

  static void Pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  const size_t count_;
  alignas(64) std::atomic<size_t> claimed_{0};
  alignas(64) std::atomic<size_t> done_{0};
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_PARALLEL_H_
