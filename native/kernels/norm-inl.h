// RMS norms of rows, the residual additions before them, and the measure after them.
#if defined(LACUNA_KERNELS_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_NORM_INL_H_
#undef LACUNA_KERNELS_NORM_INL_H_
#else
#define LACUNA_KERNELS_NORM_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "hwy/highway.h"
#include "kernels/statistics-inl.h"
#include "kernels/stream.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y[i] = map(i), a vector of entries from i on, for i < n.
template <class Map>
HWY_INLINE void Fill(size_t n, float* y, Map map) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    const auto load = [=](const float* from) HWY_ATTR {
      return count == lanes ? hn::LoadU(d, from + i) : hn::LoadN(d, from + i, count);
    };
    if (count == lanes) {
      hn::StoreU(map(load), d, y + i);
    } else {
      hn::StoreN(map(load), d, y + i, count);
    }
  }
}

// y = norm(x) over n entries. y may be x.
HWY_INLINE void Normalise(const RmsNorm& norm, const float* x, size_t n, float* y) {
  const hn::ScalableTag<float> d;
  const float squares = SumOf(x, n, [](auto v, size_t) HWY_ATTR { return hn::Mul(v, v); });
  const auto factor = hn::Set(d, 1 / std::sqrt(squares / static_cast<float>(n) + norm.epsilon));
  Fill(n, y, [&](auto load) HWY_ATTR { return hn::Mul(hn::Mul(load(x), factor), load(norm.weight)); });
}

// A token's norm(x + skip), into `y`. The sum is stored if it is wanted.
HWY_INLINE void NormaliseStream(const RmsNorm& norm, const Stream& stream, size_t token, size_t hidden, float* y) {
  const float* x = stream.x + token * hidden;
  if (stream.skip != nullptr) {
    const float* skip = stream.skip + token * hidden;
    float* sum = stream.sum == nullptr ? y : stream.sum + token * hidden;
    Fill(hidden, sum, [&](auto load) HWY_ATTR { return hn::Add(load(x), load(skip)); });
    x = sum;
  }
  Normalise(norm, x, hidden, y);
}

// cos(h, h + y) over n entries: how little adding y changes the direction of the stream (FFN-SkipLLM).
HWY_INLINE float SaturationOf(const float* h, const float* y, size_t n) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto square = [](auto v) HWY_ATTR { return hn::Mul(v, v); };
  const auto after = [&](auto v, size_t i) HWY_ATTR {
    return hn::Add(v, i + lanes <= n ? hn::LoadU(d, y + i) : hn::LoadN(d, y + i, n - i));
  };
  const double size = static_cast<double>(n);
  const double product = SumOf(h, n, [&](auto v, size_t i) HWY_ATTR { return hn::Mul(v, after(v, i)); }) / size;
  const double before_square = SumOf(h, n, [&](auto v, size_t) HWY_ATTR { return square(v); }) / size;
  const double after_square = SumOf(h, n, [&](auto v, size_t i) HWY_ATTR { return square(after(v, i)); }) / size;
  // As in the portable body: gives a zero vector saturation 0, and is far below the mean square of any residual stream.
  constexpr double kEpsilon = 1e-30;
  return static_cast<float>(product / std::sqrt((before_square + kEpsilon) * (after_square + kEpsilon)));
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
