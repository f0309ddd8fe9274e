#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn_fp32.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

void ItemsFp32(const GatedFfnJob& job) { WorkOnGatedFfn<FloatRows<float>>(job); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ItemsFp32);
}  // namespace

void WorkOnFp32(const GatedFfnJob& job) { HWY_DYNAMIC_DISPATCH(ItemsFp32)(job); }

}  // namespace lacuna
#endif  // HWY_ONCE
