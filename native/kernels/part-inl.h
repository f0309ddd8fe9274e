// What the jobs of decoder.h share: steps, items, scratch, and the way into the threads.
//
// A job has Item(phase, block, item), which does an item, and Fetch(phase, item), which may ask for what an item will read.
#if defined(LACUNA_KERNELS_PART_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_PART_INL_H_
#undef LACUNA_KERNELS_PART_INL_H_
#else
#define LACUNA_KERNELS_PART_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <optional>

#include "hwy/highway.h"
#include "kernels/matrix.h"
#include "kernels/phases.h"
#include "kernels/scratch.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

class PartJob {
 public:
  // A job that multiplies so many weights, for up to `most_workers`.
  PartJob(size_t tokens, size_t phases, size_t products, size_t most_workers)
      : steps_(tokens, phases),
        most_tokens_(std::min(tokens, kTokenBlock)),
        workers_(std::clamp<size_t>(products / kProductsAWorker, 1, most_workers)) {}

  size_t steps() const { return steps_.count(); }
  // Tokens of a block.
  size_t most_tokens() const { return most_tokens_; }

  // Does all of `job`, which is this one.
  template <class Job>
  void Run(Job& job, const Parallel& parallel) {
    const auto task = [](void* argument, size_t) {
      Job& mine = *static_cast<Job*>(argument);
      const Steps& steps = mine.steps_;
      WorkThroughSteps(
          *mine.items_, mine.ends_, [&](size_t step, size_t item) { mine.Fetch(steps.PhaseOf(step), item); },
          [&](size_t step, size_t item) { mine.Item(steps.PhaseOf(step), steps.TokensOf(step), item); });
    };
    parallel.run(parallel.state, std::min(workers_, items_->count()), task, &job);
  }

 protected:
  // Tokens an item, where tokens are taken one by one.
  static constexpr size_t kTokens = 4;

  // Items of a phase that can be cut at will: what a worker reads lies together, and the last to finish has half of a
  // worker's share at most.
  size_t ItemsWanted() const { return 2 * workers_; }

  // Rows of a matrix an item, in whole multiples of `unit`.
  size_t RowsAnItem(size_t rows, size_t unit) const { return DivideUp(DivideUp(rows, ItemsWanted()), unit) * unit; }

  // Arrays(job, layout), in scratch that is large enough for them.
  template <class Arrays, class Job>
  static Arrays Place(Scratch& scratch, const Job& job) {
    ScratchLayout sizes(nullptr);
    Arrays(job, sizes);
    ScratchLayout places(scratch.AtLeast(sizes.bytes()));
    return Arrays(job, places);
  }

  // Fills `ends` [steps] with how many items there are up to each step, by count(phase, block).
  template <class Count>
  void Number(size_t* ends, Count count) {
    size_t all = 0;
    for (size_t step = 0; step < steps(); ++step)
      ends[step] = all += count(steps_.PhaseOf(step), steps_.TokensOf(step));
    ends_ = ends;
    items_.emplace(all);
  }

  // Calls run(token of the call, token of the block) for the tokens of an item.
  template <class Run>
  static void ForTokens(const TokenBlock& block, size_t item, Run run) {
    const size_t end = std::min(block.count, (item + 1) * kTokens);
    for (size_t t = item * kTokens; t < end; ++t) run(block.first + t, t);
  }

 private:
  // A second thread is worth waking for the work of about ten microseconds.
  static constexpr size_t kProductsAWorker = 64 * 1024;

  Steps steps_;
  size_t most_tokens_;
  size_t workers_;
  const size_t* ends_ = nullptr;
  std::optional<ClaimedItems> items_;
};

// Makes Job<storage>(args..., most workers) and does all of it.
template <template <Storage> class Job, class... Args>
void RunPart(Storage storage, const Parallel& parallel, Args&&... args) {
  if (storage == Storage::kInt4) {
    Job<Storage::kInt4> job(args..., parallel.workers);
    job.Run(job, parallel);
  } else {
    Job<Storage::kInt8> job(args..., parallel.workers);
    job.Run(job, parallel);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
