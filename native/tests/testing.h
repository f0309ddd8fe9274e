// Shared by the kernels' tests: targets, threads, random floats (random.h) and misaligned ones.
#ifndef LACUNA_TESTS_TESTING_H_
#define LACUNA_TESTS_TESTING_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "hwy/targets.h"
#include "kernels/parallel.h"
#include "kernels/targets.h"
#include "tests/random.h"
#include "tests/vnni.h"

namespace lacuna::testing {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

// Calls `check` once for every instruction set that is built and that this processor has.
template <class Check>
void ForEachTarget(Check check, bool stands_in_for_vnni = false) {
  const Vnni used = vnni_in_use;
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    for (const Vnni vnni : {Vnni::kNone, Vnni::kVex, Vnni::kEvex}) {
      const bool is_here = vnni == VnniOfThisProcessor() || stands_in_for_vnni;
      if (vnni != Vnni::kNone && !(target == HWY_AVX2 && is_here)) continue;
      vnni_in_use = vnni;
      check(hwy::TargetName(target) + std::string(vnni == Vnni::kNone ? "" : vnni == Vnni::kVex ? " by VEX" : " by EVEX"));
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  vnni_in_use = used;
}

// The same, and for VNNI in any case, where each of its instructions may take microseconds: for products by themselves.
template <class Check>
void ForEachTargetAndVnni(Check check) {
  ForEachTarget(check, StandInForVnni());
}

// One thread for every task: the least ordered way to run them.
inline Parallel OnThreads(size_t workers) {
  return {nullptr, workers, [](void*, size_t tasks, void (*task)(void*, size_t), void* argument) {
            std::vector<std::thread> threads;
            for (size_t i = 0; i < tasks; ++i) threads.emplace_back(task, argument, i);
            for (std::thread& thread : threads) thread.join();
          }};
}

// A copy of floats that starts `offset` floats past an aligned address, with guards on both sides.
class Misaligned {
 public:
  Misaligned(const std::vector<float>& values, size_t offset)
      : offset_(kGuard + offset), size_(values.size()), floats_(offset_ + size_ + kGuard, kSentinel) {
    std::copy(values.begin(), values.end(), floats_.begin() + static_cast<std::ptrdiff_t>(offset_));
  }
  float* data() { return floats_.data() + offset_; }
  const float* data() const { return floats_.data() + offset_; }
  size_t size() const { return size_; }
  // Nothing was written outside.
  bool Intact() const {
    for (size_t i = 0; i < floats_.size(); ++i)
      if ((i < offset_ || i >= offset_ + size_) && floats_[i] != kSentinel) return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 32;
  static constexpr float kSentinel = -12345.5f;
  size_t offset_, size_;
  std::vector<float> floats_;
};

}  // namespace lacuna::testing

#endif  // LACUNA_TESTS_TESTING_H_
