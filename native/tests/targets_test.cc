// Which instructions kernels use.
#include "kernels/targets.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "hwy/targets.h"

namespace lacuna {
namespace {

TEST(Targets, TheBestThatThisProcessorHas) {
  const std::string best = InstructionsInUse();
  ChooseInstructions();
  EXPECT_EQ(InstructionsInUse(), best);
}

TEST(Targets, TheSetOfAName) {
  const std::string best = InstructionsInUse();
  // A build under sanitizers has one set.
  const bool is_one = hwy::SupportedAndGeneratedTargets().size() == 1;
  const std::string least = is_one ? best : HWY_ARCH_X86 ? "SSE2" : "NEON";
  ChooseInstructions(least);
  EXPECT_EQ(InstructionsInUse(), least);
  EXPECT_EQ(hwy::SupportedAndGeneratedTargets().size(), 1u);
  ChooseInstructions(best);
  EXPECT_EQ(InstructionsInUse(), best);
  ChooseInstructions();
}

TEST(Targets, ANameThatThereIsNotIsRefused) {
  const std::string best = InstructionsInUse();
  for (const char* name : {"AVX9", "avx2", ",", "NEON_BF16"}) EXPECT_THROW(ChooseInstructions(name), std::invalid_argument);
  EXPECT_EQ(InstructionsInUse(), best);
}

}  // namespace
}  // namespace lacuna
