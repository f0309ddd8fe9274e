#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn_int5.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

void ItemsInt5(const GatedFfnJob& job) { WorkOnGatedFfn<BlockRows<Storage::kInt5>>(job); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ItemsInt5);
}  // namespace

void WorkOnInt5(const GatedFfnJob& job) { HWY_DYNAMIC_DISPATCH(ItemsInt5)(job); }

}  // namespace lacuna
#endif  // HWY_ONCE
