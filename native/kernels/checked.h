// Sizes of memory, multiplied and added such that a result that is too large is an error, never a small number.
#ifndef LACUNA_KERNELS_CHECKED_H_
#define LACUNA_KERNELS_CHECKED_H_

#include <cstddef>
#include <initializer_list>
#include <stdexcept>

namespace lacuna {

// Throws std::length_error if the product does not fit into a size.
inline size_t Product(std::initializer_list<size_t> factors) {
  size_t product = 1;
  for (const size_t factor : factors)
    if (__builtin_mul_overflow(product, factor, &product)) throw std::length_error("lacuna: a size is too large for memory");
  return product;
}

// The same for a sum.
inline size_t Sum(size_t a, size_t b) {
  size_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) throw std::length_error("lacuna: a size is too large for memory");
  return sum;
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_CHECKED_H_
