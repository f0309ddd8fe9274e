// The residual stream that parts of a layer read, and RMS norms.
#ifndef LACUNA_KERNELS_STREAM_H_
#define LACUNA_KERNELS_STREAM_H_

#include <algorithm>
#include <cstddef>
#include <functional>

namespace lacuna {

// y = x / sqrt(mean(x^2) + epsilon) * weight; no norm where there is no weight.
struct RmsNorm {
  const float* weight = nullptr;
  float epsilon = 0;
};

// The residual stream as a part reads it: x, or x + skip where there is a skip.
struct Stream {
  size_t tokens = 0;
  // [tokens, hidden]
  const float* x = nullptr;
  const float* skip = nullptr;
  // Gets x + skip, [tokens, hidden]; null where that is not wanted or there is no skip.
  float* sum = nullptr;
};

// FFN-SkipLLM's: which tokens a part is for, and how much it changes the stream of these.
struct Mask {
  // [tokens], or null when all are. Inactive tokens get y = 0 and saturation 0.
  const bool* active = nullptr;
  // [tokens, hidden] what y will be added to; read only where saturation is wanted.
  const float* residual = nullptr;
  // [tokens], or null when not wanted.
  float* saturation = nullptr;

  // As bytes: hosts hand over what their callers wrote, which need be neither 0 nor 1.
  bool IsActive(size_t token) const {
    return active == nullptr || reinterpret_cast<const unsigned char*>(active)[token] != 0;
  }
};

// All that an inactive token gets.
inline void LeaveOut(const Stream& stream, const Mask& mask, size_t token, size_t hidden, float* y) {
  const size_t first = token * hidden, end = first + hidden;
  std::fill(y + first, y + end, 0.0f);
  if (stream.sum != nullptr) std::transform(stream.x + first, stream.x + end, stream.skip + first, stream.sum + first, std::plus());
  if (mask.saturation != nullptr) mask.saturation[token] = 0;
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_STREAM_H_
