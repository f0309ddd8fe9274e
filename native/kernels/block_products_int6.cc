#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_products_int6.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/block_products-inl.h"
#include "kernels/storage_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

StorageProducts ProductsOfInt6() { return ProductsIn<BlockProducts<Storage::kInt6>>(); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();
