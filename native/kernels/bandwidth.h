// What memory gives: the scale that speeds of kernels which read weights once are to be held against.
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

// Bytes a second at which all workers together read 256 MB in order, which no cache holds: the best of some passes. Throws
// std::bad_alloc.
inline double ReadBandwidth(const Parallel& parallel) {
  constexpr size_t kLanes = 16;
  struct Pass {
    std::vector<uint64_t> words = std::vector<uint64_t>(size_t{32} << 20, 1);
    size_t parts = 0;
    std::atomic<uint64_t> total{0};
  } pass;
  pass.parts = parallel.workers;
  double best = 0;
  for (int i = 0; i < 8; ++i) {
    const auto start = std::chrono::steady_clock::now();
    parallel.run(
        parallel.state, pass.parts,
        [](void* argument, size_t part) {
          Pass& all = *static_cast<Pass*>(argument);
          const size_t size = all.words.size() / all.parts / kLanes * kLanes;
          uint64_t lanes[kLanes] = {};
          const uint64_t* const end = all.words.data() + (part + 1) * size;
          for (const uint64_t* at = end - size; at != end; at += kLanes)
            for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += at[lane];
          for (uint64_t lane : lanes) all.total += lane;
        },
        &pass);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const size_t read = pass.words.size() / pass.parts / kLanes * kLanes * pass.parts;
    best = std::max(best, static_cast<double>(read * sizeof(uint64_t)) / seconds.count());
  }
  return best;
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_BANDWIDTH_H_
