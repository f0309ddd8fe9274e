// The residual stream that parts of a layer read, and RMS norms.
#ifndef LACUNA_KERNELS_STREAM_H_
#define LACUNA_KERNELS_STREAM_H_

#include <algorithm>
#include <cstddef>
#include <functional>

namespace lacuna {

// y = x / sqrt(mean(x^2) + epsilon) * weight. Without a weight there is no norm.
struct RmsNorm {
  const float* weight = nullptr;
  float epsilon = 0;
};

// The residual stream as a part reads it: x, or x + skip if there is a skip.
struct Stream {
  size_t tokens = 0;
  // [tokens, hidden]
  const float* x = nullptr;
  const float* skip = nullptr;
  // Gets x + skip, [tokens, hidden]. Null if it is not wanted or there is no skip.
  float* sum = nullptr;
};

// FFN-SkipLLM's: the tokens for which a part runs, and how much it changes their stream.
struct Mask {
  // [tokens], or null if all are active. Inactive tokens get y = 0 and saturation 0.
  const bool* active = nullptr;
  // [tokens, hidden], to which y will be added. Read only if saturation is wanted.
  const float* residual = nullptr;
  // [tokens], or null if not wanted.
  float* saturation = nullptr;

  // As bytes, because hosts pass what their callers wrote, which need not be 0 or 1.
  bool IsActive(size_t token) const {
    return active == nullptr || reinterpret_cast<const unsigned char*>(active)[token] != 0;
  }
};

// Sets the results of an inactive token.
inline void LeaveOut(const Stream& stream, const Mask& mask, size_t token, size_t hidden, float* y) {
  const size_t first = token * hidden, end = first + hidden;
  std::fill(y + first, y + end, 0.0f);
  if (stream.sum != nullptr) std::transform(stream.x + first, stream.x + end, stream.skip + first, stream.sum + first, std::plus());
  if (mask.saturation != nullptr) mask.saturation[token] = 0;
}

}  // namespace lacuna

#endif  // LACUNA_KERNELS_STREAM_H_
