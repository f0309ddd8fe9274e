#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn_int8.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

void ItemsInt8(const GatedFfnJob& job) { WorkOnGatedFfn<BlockRows<Storage::kInt8>>(job); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ItemsInt8);
}  // namespace

void WorkOnInt8(const GatedFfnJob& job) { HWY_DYNAMIC_DISPATCH(ItemsInt8)(job); }

}  // namespace lacuna
#endif  // HWY_ONCE
