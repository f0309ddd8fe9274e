// The memory's bandwidth: the scale for the speed of kernels that read weights once.
#ifndef LACUNA_KERNELS_BANDWIDTH_H_
#define LACUNA_KERNELS_BANDWIDTH_H_

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/parallel.h"

namespace lacuna {

// Memory larger than any cache, read in order. Throws std::bad_alloc.
class OrderedReads {
 public:
  // Bytes a second when all workers together read it once.
  double Pass(const Parallel& parallel) {
    workers_ = parallel.workers;
    const auto start = std::chrono::steady_clock::now();
    parallel.run(
        parallel.state, workers_,
        [](void* argument, size_t part) { static_cast<OrderedReads*>(argument)->Read(part); }, this);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return static_cast<double>(PartSize() * workers_ * sizeof(uint64_t)) / seconds.count();
  }

 private:
  static constexpr size_t kLanes = 16;

  size_t PartSize() const { return words_.size() / workers_ / kLanes * kLanes; }

  void Read(size_t part) {
    uint64_t lanes[kLanes] = {};
    const uint64_t* const end = words_.data() + (part + 1) * PartSize();
    for (const uint64_t* at = end - PartSize(); at != end; at += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += at[lane];
    for (uint64_t lane : lanes) total_ += lane;
  }

  std::vector<uint64_t> words_ = std::vector<uint64_t>(size_t{32} << 20, 1);
  size_t workers_ = 0;
  std::atomic<uint64_t> total_{0};
};

// The best of some passes.
inline double ReadBandwidth(const Parallel& parallel) {
  OrderedReads reads;
  double best = 0;
  for (int i = 0; i < 8; ++i) best = std::max(best, reads.Pass(parallel));
  return best;
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_BANDWIDTH_H_
