// The products of each storage, for this instruction set.
#if defined(LACUNA_KERNELS_STORAGE_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_STORAGE_PRODUCTS_INL_H_
#undef LACUNA_KERNELS_STORAGE_PRODUCTS_INL_H_
#else
#define LACUNA_KERNELS_STORAGE_PRODUCTS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/matrix.h"
#include "kernels/storage_products.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

// In block_products_int4.cc and its neighbours.
StorageProducts ProductsOfInt4();
StorageProducts ProductsOfInt5();
StorageProducts ProductsOfInt6();
StorageProducts ProductsOfInt8();

inline StorageProducts ProductsOf(Storage storage) {
  switch (storage) {
    case Storage::kInt4:
      return ProductsOfInt4();
    case Storage::kInt5:
      return ProductsOfInt5();
    case Storage::kInt6:
      return ProductsOfInt6();
    default:
      return ProductsOfInt8();
  }
}

// What ProductsOf returns, given BlockProducts of the storage.
template <class Products>
StorageProducts ProductsIn() {
  return {Products::template Multiply<typename Products::StoredZeros>, Products::Fetch, Products::Code, Products::CodeBlock,
          Products::FillUp};
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
