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
  Vnni vnni;
};

// The last one chosen. Whoever asks for it must not ask Highway: other threads may be computing (EnabledTargets).
InstructionSet in_use = {};

const char* NameOf(const InstructionSet& set) {
  switch (set.target) {
    case HWY_NEON:
      return "NEON_DOT";
    case HWY_NEON_WITHOUT_AES:
      return "NEON";
    default:
      return set.vnni != Vnni::kNone ? "AVX2_VNNI" : hwy::TargetName(set.target);
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
    const Vnni vnni = target == HWY_AVX2 ? VnniOfThisProcessor() : Vnni::kNone;
    if (vnni != Vnni::kNone) sets.push_back({target, vnni});
    sets.push_back({target, Vnni::kNone});
  }
  return sets;
}

#if HWY_ARCH_X86
struct Registers {
  unsigned eax, ebx, ecx, edx;
};

Registers CpuId(unsigned leaf, unsigned subleaf) {
  Registers to = {};
  __get_cpuid_count(leaf, subleaf, &to.eax, &to.ebx, &to.ecx, &to.edx);
  return to;
}

// Whether the system saves the registers of AVX-512 (Intel SDM, volume 1, 15.2). Encoded as AVX-512 has it, an instruction
// needs that for vectors of any length.
bool SavesAvx512() {
  constexpr unsigned kHasXgetbv = 1 << 27, kAllOfThem = 0xe6;
  if ((CpuId(1, 0).ecx & kHasXgetbv) == 0) return false;
  unsigned saved = 0, upper = 0;
  __asm__("xgetbv" : "=a"(saved), "=d"(upper) : "c"(0));
  return (saved & kAllOfThem) == kAllOfThem;
}
#endif

}  // namespace

Vnni VnniOfThisProcessor() {
#if HWY_ARCH_X86
  constexpr unsigned kFeatures = 7, kAvxVnni = 1 << 4, kAvx512Vl = 1u << 31, kAvx512Vnni = 1 << 11;
  if ((CpuId(kFeatures, 1).eax & kAvxVnni) != 0) return Vnni::kVex;
  const Registers has = CpuId(kFeatures, 0);
  if ((has.ebx & kAvx512Vl) != 0 && (has.ecx & kAvx512Vnni) != 0 && SavesAvx512()) return Vnni::kEvex;
#endif
  return Vnni::kNone;
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
  in_use = *wanted;
  vnni_in_use = wanted->vnni;
  if (!name.empty()) hwy::DisableTargets(~wanted->target);
}

const char* InstructionsInUse() {
  if (in_use.target == 0) ChooseInstructions();
  return NameOf(in_use);
}

}  // namespace lacuna
