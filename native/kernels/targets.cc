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

const char* NameOf(int64_t target) {
  switch (target) {
    case HWY_NEON:
      return "NEON_DOT";
    case HWY_NEON_WITHOUT_AES:
      return "NEON";
    default:
      return hwy::TargetName(target);
  }
}

}  // namespace

void ChooseInstructions(std::string_view name) {
  const int64_t missing = HasDotProducts() ? 0 : HWY_NEON;
  hwy::DisableTargets(missing);
  if (name.empty()) return;
  const std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  const auto wanted = std::find_if(targets.begin(), targets.end(), [name](int64_t target) { return name == NameOf(target); });
  if (wanted == targets.end()) {
    std::string names;
    for (const int64_t target : targets) names += (names.empty() ? "" : ", ") + std::string(NameOf(target));
    throw std::invalid_argument("there are no instructions " + std::string(name) + " here, only " + names);
  }
  hwy::DisableTargets(~*wanted);
}

const char* InstructionsInUse() { return NameOf(hwy::SupportedAndGeneratedTargets().front()); }

}  // namespace lacuna
