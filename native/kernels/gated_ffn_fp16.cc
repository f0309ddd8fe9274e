#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn_fp16.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

void ItemsFp16(const GatedFfnJob& job) { WorkOnGatedFfn<FloatRows<hwy::float16_t>>(job); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ItemsFp16);
}  // namespace

void WorkOnFp16(const GatedFfnJob& job) { HWY_DYNAMIC_DISPATCH(ItemsFp16)(job); }

}  // namespace lacuna
#endif  // HWY_ONCE
