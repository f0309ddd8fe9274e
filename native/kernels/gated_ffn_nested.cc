#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn_nested.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

// Planes of gate and up in 4 bits, rows of `down` in 8.
struct NestedRows : BlockRows<Storage::kInt4> {
  using Down = BlockRows<Storage::kInt8>;
};

void ItemsNested(const GatedFfnJob& job) { WorkOnGatedFfn<NestedRows>(job); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(ItemsNested);
}  // namespace

void WorkOnNested(const GatedFfnJob& job) { HWY_DYNAMIC_DISPATCH(ItemsNested)(job); }

}  // namespace lacuna
#endif  // HWY_ONCE
