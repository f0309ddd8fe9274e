// Work that goes through phases, block of tokens by block of tokens, in one parallel region (ClaimedItems).
#ifndef LACUNA_KERNELS_PHASES_H_
#define LACUNA_KERNELS_PHASES_H_

#include <algorithm>
#include <cstddef>
#include <utility>

#include "kernels/parallel.h"

namespace lacuna {

inline constexpr size_t DivideUp(size_t a, size_t b) { return (a + b - 1) / b; }

// Tokens that go through the phases together: enough to use a row of weights often while it is in the cache.
constexpr size_t kTokenBlock = 64;

struct TokenBlock {
  size_t first;
  size_t count;
};

// Blocks of tokens and their phases, numbered through: phase p of block b is step b * phases + p.
class Steps {
 public:
  Steps(size_t tokens, size_t phases) : tokens_(tokens), phases_(phases) {}

  size_t count() const { return DivideUp(tokens_, kTokenBlock) * phases_; }
  size_t PhaseOf(size_t step) const { return step % phases_; }
  TokenBlock TokensOf(size_t step) const {
    const size_t first = step / phases_ * kTokenBlock;
    return {first, std::min(kTokenBlock, tokens_ - first)};
  }

 private:
  size_t tokens_;
  size_t phases_;
};

// Runs a worker's share of all steps: `run(step, item)`, where ends[step] is the number of items up to and with the step's.
// An item waits for the steps before its own, and meanwhile `fetch(step, item)` may ask for what it will read.
template <class Fetch, class Run>
void WorkThroughSteps(ClaimedItems& items, const size_t* ends, Fetch fetch, Run run) {
  size_t step = 0;
  for (size_t item; (item = items.Claim()) < items.count();) {
    while (item >= ends[step]) ++step;
    const size_t before = step == 0 ? 0 : ends[step - 1];
    if (!items.AreDone(before)) {
      fetch(step, item - before);
      items.WaitFor(before);
    }
    run(step, item - before);
    items.Finish();
  }
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_PHASES_H_
