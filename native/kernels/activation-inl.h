// Activations of gated FFNs on vectors of floats.
#if defined(LACUNA_KERNELS_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_ACTIVATION_INL_H_
#undef LACUNA_KERNELS_ACTIVATION_INL_H_
#else
#define LACUNA_KERNELS_ACTIVATION_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/gated_ffn.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// exp(x), with arguments limited to where Highway's is defined. Above 104 it is infinite, below -104 zero.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ClampedExp(D d, V x) {
  return hn::Exp(d, hn::Max(hn::Min(x, hn::Set(d, 104.0f)), hn::Set(d, -104.0f)));
}

// x / (1 + exp(-slope)): x times the logistic function of slope.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V TimesLogistic(D d, V x, V slope) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), ClampedExp(d, hn::Neg(slope))));
}

// erf(x) to 1.5e-7, absolute: Abramowitz and Stegun, 7.1.26.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Erf(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V size = hn::Abs(x);
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911f), size, one));
  V poly = hn::Set(d, 1.061405429f);
  poly = hn::MulAdd(poly, t, hn::Set(d, -1.453152027f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 1.421413741f));
  poly = hn::MulAdd(poly, t, hn::Set(d, -0.284496736f));
  poly = hn::MulAdd(poly, t, hn::Set(d, 0.254829592f));
  const V tail = hn::Mul(hn::Mul(poly, t), ClampedExp(d, hn::Neg(hn::Mul(x, x))));
  return hn::CopySign(hn::Sub(one, tail), x);
}

// x limited smoothly to the cap (Gemma 2, section 2).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V SoftCapped(D d, V x, float cap) {
  return hn::Mul(hn::Set(d, cap), hn::Tanh(d, hn::Div(x, hn::Set(d, cap))));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Activate(D d, Activation activation, V x) {
  switch (activation) {
    case Activation::kSilu:
      return TimesLogistic(d, x, x);
    case Activation::kGeluTanh: {
      // (1 + tanh u) / 2 is the logistic function of 2u; 2 sqrt(2/pi) = 1.5957691216.
      const V cubic = hn::MulAdd(hn::Mul(hn::Set(d, 0.044715f), hn::Mul(x, x)), x, x);
      return TimesLogistic(d, x, hn::Mul(hn::Set(d, 1.5957691216f), cubic));
    }
    case Activation::kGelu: {
      const V half = hn::Mul(hn::Set(d, 0.5f), x);
      return hn::MulAdd(half, Erf(d, hn::Mul(x, hn::Set(d, 0.70710678f))), half);
    }
    case Activation::kRelu:
    case Activation::kDrelu:
      // Not the larger of both: on x86 that is 0 if x is NaN.
      return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(d)), x);
  }
  return x;
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
