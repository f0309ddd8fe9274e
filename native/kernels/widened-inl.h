// Vectors of stored floats, as float32.
#if defined(LACUNA_KERNELS_WIDENED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_WIDENED_INL_H_
#undef LACUNA_KERNELS_WIDENED_INL_H_
#else
#define LACUNA_KERNELS_WIDENED_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using FloatVector = hn::Vec<Floats>;

// T is float, hwy::bfloat16_t or hwy::float16_t.
template <typename T>
HWY_INLINE FloatVector Widened(hn::Vec<hn::Rebind<T, Floats>> stored) {
  const Floats d;
  if constexpr (std::is_same_v<T, float>) {
    return stored;
#if HWY_TARGET == HWY_SSE2
  } else if constexpr (std::is_same_v<T, hwy::float16_t>) {
    // If the processor has no instruction for it, Highway's own promotion turns infinity and NaN into numbers.
    // Exponents are 112 less in float16. The largest exponent stands for infinity and NaN, and becomes the largest of
    // float32.
    const hn::RebindToUnsigned<Floats> du;
    const auto bits = hn::PromoteTo(du, hn::BitCast(hn::Rebind<uint16_t, Floats>(), stored));
    const auto sign = hn::And(bits, hn::Set(du, 0x8000));
    const FloatVector size = hn::Mul(hn::BitCast(d, hn::ShiftLeft<13>(hn::Xor(bits, sign))), hn::Set(d, 0x1p112f));
    const auto endless = hn::IfThenElseZero(hn::Ge(size, hn::Set(d, 0x1p16f)), hn::BitCast(d, hn::Set(du, 0x7f800000)));
    return hn::Or(hn::Or(size, endless), hn::BitCast(d, hn::ShiftLeft<16>(sign)));
#endif
  } else {
    return hn::PromoteTo(d, stored);
  }
}

// Scales of blocks. Only `count` exist if they are not a whole vector.
HWY_INLINE FloatVector LoadScales(const uint16_t* from) {
  const hn::Rebind<uint16_t, Floats> d;
  return Widened<hwy::float16_t>(hn::BitCast(hn::Rebind<hwy::float16_t, Floats>(), hn::LoadU(d, from)));
}
HWY_INLINE FloatVector LoadScales(const uint16_t* from, size_t count) {
  const hn::Rebind<uint16_t, Floats> d;
  return Widened<hwy::float16_t>(hn::BitCast(hn::Rebind<hwy::float16_t, Floats>(), hn::LoadN(d, from, count)));
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
