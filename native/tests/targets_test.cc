// Which instructions kernels use.
#include "kernels/targets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>
#include <vector>

#include "hwy/per_target.h"
#include "hwy/targets.h"
#include "kernels/decoder.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

// The set that computes. InstructionsInUse says what was chosen.
std::string NameOfDispatched() {
  switch (const int64_t target = hwy::DispatchedTarget()) {
    case HWY_NEON:
      return "NEON_DOT";
    case HWY_NEON_WITHOUT_AES:
      return "NEON";
    default:
      return target == HWY_AVX2 && vnni_in_use != Vnni::kNone ? "AVX2_VNNI" : hwy::TargetName(target);
  }
}

TEST(Targets, TheBestThatThisProcessorHas) {
  const std::string best = InstructionsInUse();
  ChooseInstructions();
  EXPECT_EQ(InstructionsInUse(), best);
  EXPECT_EQ(NameOfDispatched(), best);
}

TEST(Targets, TheSetOfAName) {
  const std::string best = InstructionsInUse();
  // A build under sanitizers has one set.
  const bool is_one = hwy::SupportedAndGeneratedTargets().size() == 1;
  const std::string least = is_one ? best : HWY_ARCH_X86 ? "SSE2" : "NEON";
  for (const std::string& name : {least, best}) {
    ChooseInstructions(name);
    EXPECT_EQ(InstructionsInUse(), name);
    EXPECT_EQ(NameOfDispatched(), name);
    EXPECT_EQ(hwy::SupportedAndGeneratedTargets().size(), 1u);
  }
  ChooseInstructions();
}

#if HWY_ARCH_X86
// Else its kernels would be tested in name alone.
TEST(Targets, VnniMultiplies) {
  const auto targets = hwy::SupportedAndGeneratedTargets();
  const bool has_avx2 = std::find(targets.begin(), targets.end(), HWY_AVX2) != targets.end();
  const Vnni has = VnniOfThisProcessor();
  std::array<bool, 3> used = {};
  const std::vector<uint8_t> codes(kBlock);
  const uint16_t one = 0x3c00;
  const std::vector<float> x(kBlock, 1.0f);
  const NormProduct part = {Storage::kInt8, {x.data(), 1e-6f}, {{codes.data(), &one, nullptr}, 1, kBlock}};
  testing::ForEachTargetAndVnni([&](const std::string& target) {
    used[static_cast<size_t>(vnni_in_use)] = true;
    const size_t before = testing::VnniSteps();
    float y = 0;
    Scratch scratch;
    RunNormProduct(part, {1, x.data(), nullptr, nullptr}, &y, scratch, OnThisThread());
    EXPECT_NEAR(y, -128.0f * kBlock, 1e-2f) << target;
    // Processors that say the first encoding may have both.
    if (has != Vnni::kVex || vnni_in_use != Vnni::kEvex) {
      EXPECT_EQ(testing::VnniSteps() > before, vnni_in_use != Vnni::kNone && vnni_in_use != has) << target;
    }
  });
  // Builds for one set may lack AVX2.
  for (const Vnni vnni : {Vnni::kVex, Vnni::kEvex}) EXPECT_EQ(used[static_cast<size_t>(vnni)], has_avx2);
}
#endif

TEST(Targets, ANameThatThereIsNotIsRefused) {
  const std::string best = InstructionsInUse();
  for (const char* name : {"AVX9", "avx2", ",", "NEON_BF16"}) EXPECT_THROW(ChooseInstructions(name), std::invalid_argument);
  EXPECT_EQ(InstructionsInUse(), best);
}

}  // namespace
}  // namespace lacuna
