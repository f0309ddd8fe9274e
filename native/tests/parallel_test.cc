#include "kernels/parallel.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/scratch.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

// Two phases of `n` items. The second reads what the first wrote.
struct TwoPhases {
  explicit TwoPhases(size_t n_) : n(n_), first(n_), second(n_), items(2 * n_) {}
  size_t n;
  std::vector<size_t> first, second;
  ClaimedItems items;

  static void Work(void* argument, size_t) {
    TwoPhases& job = *static_cast<TwoPhases*>(argument);
    for (size_t item; (item = job.items.Claim()) < job.items.count();) {
      if (item < job.n) {
        job.first[item] = item + 1;
      } else {
        job.items.WaitFor(job.n);
        for (size_t value : job.first) job.second[item - job.n] += value;
      }
      job.items.Finish();
    }
  }
};

TEST(ClaimedItems, APhaseSeesAllOfTheOneBefore) {
  for (size_t workers : {1, 2, 3, 8}) {
    for (size_t n : {1, 2, 17, 100}) {
      TwoPhases job(n);
      const Parallel parallel = testing::OnThreads(workers);
      parallel.run(parallel.state, workers, TwoPhases::Work, &job);
      for (size_t sum : job.second) ASSERT_EQ(sum, n * (n + 1) / 2);
    }
  }
}

// A host with one thread runs tasks one after the other, so the first must not wait for the second.
TEST(ClaimedItems, EndWhenTasksDoNotOverlap) {
  TwoPhases job(10);
  const Parallel parallel = OnThisThread();
  parallel.run(parallel.state, 4, TwoPhases::Work, &job);
  EXPECT_EQ(job.second[0], 55u);
}

TEST(ScratchPool, GivesBackWhatWasReturned) {
  ScratchPool pool;
  std::unique_ptr<Scratch> one = pool.Take();
  std::unique_ptr<Scratch> other = pool.Take();
  uint8_t* block = one->AtLeast(1000);
  EXPECT_NE(block, other->AtLeast(1000));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % Scratch::kAlignment, 0u);
  pool.Return(std::move(one));
  EXPECT_EQ(pool.Take()->AtLeast(500), block);
}

}  // namespace
}  // namespace lacuna
