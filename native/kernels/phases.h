// Work that goes through phases, block of tokens by block of tokens, in one parallel region (ClaimedItems).
#ifndef LACUNA_KERNELS_PHASES_H_
#define LACUNA_KERNELS_PHASES_H_

#include <algorithm>
#include <cstddef>
#include <optional>

#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace lacuna {

inline constexpr size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

// Tokens that go through the phases together: enough to use a row of weights often while it is in the cache.
constexpr size_t kTokenBlock = 64;

struct TokenBlock {
  size_t first;
  size_t count;
};

// One call of a kernel. Phase p of block b is step b * phases + p; the items of all steps are numbered through, and an item
// waits until all items of the steps before its own are done. A kernel's job derives from this class, and says in its
// constructor what lies in scratch (Place), and how many items a phase has (Number).
class PhasedJob {
 public:
  // `products`: how many weights are multiplied, by which the number of workers is chosen.
  PhasedJob(size_t tokens, size_t phases, size_t products, size_t most_workers)
      : tokens_(tokens),
        phases_(phases),
        workers_(std::clamp<size_t>(products / kProductsAWorker, 1, most_workers)) {}

  // Tokens of a block.
  size_t most_tokens() const { return std::min(tokens_, kTokenBlock); }

  // Calls share(worker) in each worker, which are numbered below workers(). It has to do a worker's share, by Work.
  template <class Share>
  void Run(const Parallel& parallel, Share share) const {
    const auto task = [](void* argument, size_t worker) { (*static_cast<Share*>(argument))(worker); };
    parallel.run(parallel.state, std::min(workers_, items_->count()), task, &share);
  }

  // Does a worker's share: item(phase, block, index) for each item that it claims. While an item has to wait,
  // fetch(phase, index) may ask for what the item will read.
  template <class Fetch, class Item>
  void Work(Fetch fetch, Item item) const {
    size_t step = 0;
    for (size_t number; (number = items_->Claim()) < items_->count();) {
      while (number >= ends_[step]) ++step;
      const size_t before = step == 0 ? 0 : ends_[step - 1];
      if (!items_->AreDone(before)) {
        fetch(PhaseOf(step), number - before);
        items_->WaitFor(before);
      }
      item(PhaseOf(step), BlockOf(step), number - before);
      items_->Finish();
    }
  }

 protected:
  // Tokens an item, where tokens are taken one by one.
  static constexpr size_t kTokens = 4;

  size_t workers() const { return workers_; }

  // Items of a phase that can be cut at will: what a worker reads lies together, and the last to finish has half of a
  // worker's share at most.
  size_t ItemsWanted() const { return 2 * workers_; }

  // Rows of a matrix an item, in whole multiples of `unit`.
  size_t RowsAnItem(size_t rows, size_t unit) const { return DivideUp(DivideUp(rows, ItemsWanted()), unit) * unit; }

  // Arrays(of, layout), in scratch that is large enough for them. `of` is what their sizes follow from.
  template <class Arrays, class... Of>
  Arrays Place(Scratch& scratch, const Of&... of) {
    ScratchLayout sizes(nullptr);
    sizes.Array<size_t>(Steps());
    Arrays(of..., sizes);
    ScratchLayout places(scratch.AtLeast(sizes.bytes()));
    ends_ = places.Array<size_t>(Steps());
    return Arrays(of..., places);
  }

  // Numbers the items, of which each step has count(phase, block). Comes after Place.
  template <class Count>
  void Number(Count count) {
    size_t all = 0;
    for (size_t step = 0; step < Steps(); ++step) ends_[step] = all += count(PhaseOf(step), BlockOf(step));
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

  size_t Steps() const { return DivideUp(tokens_, kTokenBlock) * phases_; }
  size_t PhaseOf(size_t step) const { return step % phases_; }
  TokenBlock BlockOf(size_t step) const {
    const size_t first = step / phases_ * kTokenBlock;
    return {first, std::min(kTokenBlock, tokens_ - first)};
  }

  size_t tokens_;
  size_t phases_;
  size_t workers_;
  // [steps] items up to each step's last.
  size_t* ends_ = nullptr;
  mutable std::optional<ClaimedItems> items_;
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_PHASES_H_
