// Products with blocks of codes, for kernels that are compiled once for all storages.
#ifndef LACUNA_KERNELS_STORAGE_PRODUCTS_H_
#define LACUNA_KERNELS_STORAGE_PRODUCTS_H_

#include <cstddef>

#include "kernels/coded_input.h"
#include "kernels/decoder.h"

namespace lacuna {

// The functions of the same names of BlockProducts, where each is described. A call computes many rows, so it costs nothing
// to go through a pointer. Each storage is compiled in a file of its own, once.
struct StorageProducts {
  void (*Multiply)(const BlockMatrix& matrix, size_t first, size_t count, const CodedTokens& inputs, size_t from,
                   size_t tokens, float* out, size_t stride);
  void (*Fetch)(const BlockMatrix& matrix, size_t first);
  void (*Code)(const float* x, size_t n, const CodedTokens& to, size_t t);
  void (*CodeBlock)(const float* x, size_t block, const CodedInput& place);
  void (*FillUp)(size_t n, const CodedInput& place);
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_STORAGE_PRODUCTS_H_
