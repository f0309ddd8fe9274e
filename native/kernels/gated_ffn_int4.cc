#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn_int4.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

template void PredictorRows::Dot<1>(const Row*, size_t, const Input*, size_t, float*, size_t);
template void PredictorRows::Dot<PredictorRows::kTokenTile>(const Row*, size_t, const Input*, size_t, float*, size_t);

void ItemsInt4(const GatedFfnJob& job) { WorkOnGatedFfn<BlockRows<Storage::kInt4>>(job); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ItemsInt4);
}  // namespace

void WorkOnInt4(const GatedFfnJob& job) { HWY_DYNAMIC_DISPATCH(ItemsInt4)(job); }

}  // namespace lacuna
#endif  // HWY_ONCE
