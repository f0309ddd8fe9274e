// The way of a job of decoder.h into the threads.
//
// A job is a PhasedJob with Item(phase, block, item, worker), which does an item, and Fetch(phase, item), which may ask for what
// an item will read.
#if defined(LACUNA_KERNELS_PART_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_PART_INL_H_
#undef LACUNA_KERNELS_PART_INL_H_
#else
#define LACUNA_KERNELS_PART_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "kernels/phases.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

template <class Job>
void RunJob(Job& job, const Parallel& parallel) {
  job.Run(parallel, [&job](size_t worker) {
    job.Work([&job](size_t phase, size_t item) { job.Fetch(phase, item); },
             [&job, worker](size_t phase, const TokenBlock& block, size_t item) { job.Item(phase, block, item, worker); });
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
