#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn_int6.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

void ItemsInt6(const GatedFfnJob& job) { WorkOnGatedFfn<BlockRows<Storage::kInt6>>(job); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ItemsInt6);
}  // namespace

void WorkOnInt6(const GatedFfnJob& job) { HWY_DYNAMIC_DISPATCH(ItemsInt6)(job); }

}  // namespace lacuna
#endif  // HWY_ONCE
