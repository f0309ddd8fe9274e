// Products of bytes: of codes (not negative) with coded inputs (-127 to 127), four to a lane, summed exactly.
//
// Each instruction set has its own way. AVX-512 has one instruction for four products. So has NEON where the processor has
// dot products, and AVX2 where it has VNNI (targets.h). The others have one for products whose sums must fit 16 bits,
// which these do. A build with LACUNA_PORTABLE_BYTES leaves the products to Highway, to count what these ways are worth
// (bench/instruction-sets.js).
#if defined(LACUNA_KERNELS_BYTE_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_BYTE_PRODUCTS_INL_H_
#undef LACUNA_KERNELS_BYTE_PRODUCTS_INL_H_
#else
#define LACUNA_KERNELS_BYTE_PRODUCTS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/targets.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using LaneSums = hn::Vec<hn::ScalableTag<int32_t>>;
using ByteCodes = hn::Vec<hn::ScalableTag<uint8_t>>;
using ByteInputs = hn::Vec<hn::ScalableTag<int8_t>>;

#ifdef LACUNA_PORTABLE_BYTES
#define LACUNA_BYTES_BY(set) 0
#else
#define LACUNA_BYTES_BY(set) (set)
#endif

// A way to multiply has two functions. What multiplies gets the way from WithByteProducts.
//
// OfBytes: in each lane four products with codes of 8 bits, whose zero is 128. `start` is 128 times the sum of the lane's
// inputs, negative: the products with codes and `start` are the products with the codes' distances from 128.
//
// OfHalves: in each lane `start`, four products of `low` with `first`, and four of `high` with `second`. Codes are below 64.

#if LACUNA_BYTES_BY(HWY_TARGET == HWY_AVX2 || HWY_TARGET_IS_NEON)
// From -128 to 127, so their products, two at a time, fit 16 bits with a sign.
HWY_INLINE ByteInputs DistancesFromMiddle(ByteCodes codes) {
  return hn::BitCast(hn::ScalableTag<int8_t>(), hn::Xor(codes, hn::Set(hn::ScalableTag<uint8_t>(), uint8_t{128})));
}
#endif

#if LACUNA_BYTES_BY(HWY_TARGET == HWY_AVX2)
struct ByteProducts {
  // One factor must not be negative, so signs move to the other.
  static HWY_INLINE LaneSums OfBytes(ByteCodes codes, ByteInputs inputs, LaneSums) {
    const ByteInputs distances = DistancesFromMiddle(codes);
    const ByteInputs turned{_mm256_sign_epi8(inputs.raw, distances.raw)};
    const ByteCodes sizes{_mm256_abs_epi8(distances.raw)};
    return PairsAdded(hn::SatWidenMulPairwiseAdd(hn::ScalableTag<int16_t>(), sizes, turned),
                      hn::Zero(hn::ScalableTag<int32_t>()));
  }

  static HWY_INLINE LaneSums OfHalves(ByteCodes low, ByteInputs first, ByteCodes high, ByteInputs second, LaneSums start) {
    const hn::ScalableTag<int16_t> d;
    // 4 * 63 * 127 is below 2^15.
    return PairsAdded(hn::Add(hn::SatWidenMulPairwiseAdd(d, low, first), hn::SatWidenMulPairwiseAdd(d, high, second)), start);
  }

 private:
  static HWY_INLINE LaneSums PairsAdded(hn::Vec<hn::ScalableTag<int16_t>> pairs, LaneSums start) {
    const hn::ScalableTag<int16_t> d;
    return hn::Add(start, hn::WidenMulPairwiseAdd(hn::ScalableTag<int32_t>(), pairs, hn::Set(d, int16_t{1})));
  }
};

// Highway has no target for processors with these instructions, so its functions may not use them.
template <Vnni kEncoding>
struct VnniProducts {
  static HWY_INLINE LaneSums OfBytes(ByteCodes codes, ByteInputs inputs, LaneSums start) {
    if constexpr (kEncoding == Vnni::kVex) {
      __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(start.raw) : "x"(codes.raw), "x"(inputs.raw));
    } else {
      __asm__("%{evex%} vpdpbusd %2, %1, %0" : "+x"(start.raw) : "x"(codes.raw), "x"(inputs.raw));
    }
    return start;
  }

  static HWY_INLINE LaneSums OfHalves(ByteCodes low, ByteInputs first, ByteCodes high, ByteInputs second, LaneSums start) {
    return OfBytes(high, second, OfBytes(low, first, start));
  }
};

#elif LACUNA_BYTES_BY(HWY_TARGET == HWY_NEON)
// Highway has no target for processors with dot products, so its functions may not use them.
struct ByteProducts {
  static HWY_INLINE LaneSums OfBytes(ByteCodes codes, ByteInputs inputs, LaneSums) {
    return Dot(DistancesFromMiddle(codes), inputs, hn::Zero(hn::ScalableTag<int32_t>()));
  }

  static HWY_INLINE LaneSums OfHalves(ByteCodes low, ByteInputs first, ByteCodes high, ByteInputs second, LaneSums start) {
    const hn::ScalableTag<int8_t> d;
    return Dot(hn::BitCast(d, high), second, Dot(hn::BitCast(d, low), first, start));
  }

 private:
  static HWY_INLINE LaneSums Dot(ByteInputs a, ByteInputs b, LaneSums start) {
    int32x4_t sums = start.raw;
    __asm__(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sums) : "w"(a.raw), "w"(b.raw));
    return LaneSums(sums);
  }
};

#elif LACUNA_BYTES_BY(HWY_TARGET_IS_NEON)
struct ByteProducts {
  static HWY_INLINE LaneSums OfBytes(ByteCodes codes, ByteInputs inputs, LaneSums) {
    const int8x16_t distances = DistancesFromMiddle(codes).raw;
    return PairsAdded(vmull_s8(vget_low_s8(distances), vget_low_s8(inputs.raw)), vmull_high_s8(distances, inputs.raw),
                      hn::Zero(hn::ScalableTag<int32_t>()));
  }

  static HWY_INLINE LaneSums OfHalves(ByteCodes low, ByteInputs first, ByteCodes high, ByteInputs second, LaneSums start) {
    const int8x16_t a = vreinterpretq_s8_u8(low.raw), b = vreinterpretq_s8_u8(high.raw);
    // 4 * 63 * 127 is below 2^15.
    return PairsAdded(vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(first.raw)), vget_low_s8(b), vget_low_s8(second.raw)),
                      vmlal_high_s8(vmull_high_s8(a, first.raw), b, second.raw), start);
  }

 private:
  // Sums of four neighbours among the 16 products that `first` and `last` hold.
  static HWY_INLINE LaneSums PairsAdded(int16x8_t first, int16x8_t last, LaneSums start) {
    return LaneSums(vpadalq_s16(start.raw, vpaddq_s16(first, last)));
  }
};

#else
struct ByteProducts {
  static HWY_INLINE LaneSums OfBytes(ByteCodes codes, ByteInputs inputs, LaneSums start) {
    return hn::SumOfMulQuadAccumulate(hn::ScalableTag<int32_t>(), codes, inputs, start);
  }

  static HWY_INLINE LaneSums OfHalves(ByteCodes low, ByteInputs first, ByteCodes high, ByteInputs second, LaneSums start) {
    return OfBytes(high, second, OfBytes(low, first, start));
  }
};
#endif

// Calls `multiply` with this processor's way. One call is for many products, so it costs nothing to ask. As a function of its
// own, `multiply` would load its constants anew for each call, so that clang's dense blocks of int4 and int5 took a tenth longer.
template <class Multiply>
HWY_INLINE void WithByteProducts(Multiply multiply) {
#if LACUNA_BYTES_BY(HWY_TARGET == HWY_AVX2)
  if (vnni_in_use == Vnni::kVex) return multiply(VnniProducts<Vnni::kVex>());
  if (vnni_in_use == Vnni::kEvex) return multiply(VnniProducts<Vnni::kEvex>());
#endif
  multiply(ByteProducts());
}
#undef LACUNA_BYTES_BY

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
