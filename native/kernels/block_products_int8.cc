#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/block_products_int8.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/block_products-inl.h"
#include "kernels/storage_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

StorageProducts ProductsOfInt8() { return ProductsIn<BlockProducts<Storage::kInt8>>(); }

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();
