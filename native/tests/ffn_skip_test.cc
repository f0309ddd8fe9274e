#include "kernels/ffn_skip.h"

#include <gtest/gtest.h>

#include <array>

namespace lacuna {
namespace {

TEST(FfnSkip, StartsArmedAfterTheWarmUp) {
  const std::array<int64_t, 4> positions = {0, 2, 3, 9};
  std::array<int32_t, 4> state;
  std::array<bool, 4> active;
  RunFfnSkipStart(4, positions.data(), 3, false, state.data(), active.data());
  EXPECT_EQ(state, (std::array<int32_t, 4>{-1, -1, 0, 0}));
  EXPECT_EQ(active, (std::array<bool, 4>{true, true, true, true}));
  RunFfnSkipStart(4, positions.data(), 3, true, state.data(), nullptr);
  EXPECT_EQ(state, (std::array<int32_t, 4>{-1, -1, -1, -1}));
}

TEST(FfnSkip, CountsDownThenReArmsOrRests) {
  const std::array<int32_t, 5> state = {3, 1, 0, 0, -1};
  const std::array<float, 5> saturation = {0, 1, 0.98f, 0.97f, 1};
  std::array<int32_t, 5> next;
  std::array<bool, 5> active;
  RunFfnSkipStep({0.98f, 4, true}, 5, state.data(), saturation.data(), next.data(), active.data());
  EXPECT_EQ(next, (std::array<int32_t, 5>{2, 0, 4, 0, -1}));
  EXPECT_EQ(active, (std::array<bool, 5>{false, true, false, true, true}));
  RunFfnSkipStep({0.98f, 4, false}, 5, state.data(), saturation.data(), next.data(), nullptr);
  EXPECT_EQ(next, (std::array<int32_t, 5>{2, -1, 4, 0, -1}));
}

}  // namespace
}  // namespace lacuna
