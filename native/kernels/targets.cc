#include "kernels/targets.h"

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "hwy/targets.h"

#if HWY_ARCH_ARM && HWY_OS_LINUX
#include <sys/auxv.h>
#endif
#if HWY_ARCH_X86
#include <cpuid.h>
#endif

namespace lacuna {
namespace {

// Highway's NEON is for processors with instructions for AES, which kernels do not use. Here it stands for those that
// also have dot products (byte_products-inl.h). All Macs have both.
bool HasDotProducts() {
#if HWY_ARCH_ARM && HWY_OS_LINUX
  constexpr unsigned long kDotProducts = 1 << 20;  // HWCAP_ASIMDDP, which older headers lack.
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
#else
  return true;
#endif
}

struct InstructionSet {
  int64_t target;
  bool avx_vnni;
};

const char* NameOf(const InstructionSet& set) {
  switch (set.target) {
    case HWY_NEON:
      return "NEON_DOT";
    case HWY_NEON_WITHOUT_AES:
      return "NEON";
    default:
      return set.avx_vnni ? "AVX2_VNNI" : hwy::TargetName(set.target);
  }
}

// Targets that the processor has and nobody disabled, the best first. When asked, Highway begins to dispatch by what the
// processor has, disabled or not. So the last word here is what to dispatch by.
std::vector<int64_t> EnabledTargets() {
  const std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return targets;
}

// The best first.
std::vector<InstructionSet> SetsOfThisProcessor() {
  std::vector<InstructionSet> sets;
  for (const int64_t target : EnabledTargets()) {
    if (target == HWY_AVX2 && HasAvxVnni()) sets.push_back({target, true});
    sets.push_back({target, false});
  }
  return sets;
}

}  // namespace

bool HasAvxVnni() {
#if HWY_ARCH_X86
  constexpr unsigned kFeatures = 7, kMoreFeatures = 1, kAvxVnni = 1 << 4;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(kFeatures, kMoreFeatures, &eax, &ebx, &ecx, &edx) != 0 && (eax & kAvxVnni) != 0;
#else
  return false;
#endif
}

void ChooseInstructions(std::string_view name) {
  const int64_t missing = HasDotProducts() ? 0 : HWY_NEON;
  hwy::DisableTargets(missing);
  const std::vector<InstructionSet> sets = SetsOfThisProcessor();
  const auto wanted = std::find_if(sets.begin(), sets.end(), [name](auto& set) { return name.empty() || name == NameOf(set); });
  if (wanted == sets.end()) {
    std::string names;
    for (const InstructionSet& set : sets) names += (names.empty() ? "" : ", ") + std::string(NameOf(set));
    throw std::invalid_argument("there are no instructions " + std::string(name) + " here, only " + names);
  }
  uses_avx_vnni = wanted->avx_vnni;
  if (!name.empty()) hwy::DisableTargets(~wanted->target);
}

const char* InstructionsInUse() {
  const int64_t target = EnabledTargets().front();
  return NameOf({target, target == HWY_AVX2 && uses_avx_vnni});
}

}  // namespace lacuna
