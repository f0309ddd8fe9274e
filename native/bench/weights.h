// Random weights for benchmarks.
#ifndef LACUNA_BENCH_WEIGHTS_H_
#define LACUNA_BENCH_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <vector>

#include "hwy/base.h"
#include "kernels/matrix.h"
#include "reference/matrix.h"

namespace lacuna {

struct StorageName {
  Storage storage;
  const char* name;
  double bytes;
};
inline constexpr StorageName kStorages[] = {
    {Storage::kFp32, "fp32", 4},      {Storage::kBf16, "bf16", 2},      {Storage::kFp16, "fp16", 2},
    {Storage::kInt8, "int8", 1.0625}, {Storage::kInt6, "int6", 0.8125}, {Storage::kInt5, "int5", 0.6875},
    {Storage::kInt4, "int4", 0.5625}};

// Weights of a model file start at a page.
template <typename T>
struct PageAligned {
  using value_type = T;
  static constexpr std::align_val_t kPage{4096};
  PageAligned() = default;
  template <typename U>
  PageAligned(const PageAligned<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kPage)); }
  void deallocate(T* block, size_t) { ::operator delete(block, kPage); }
  bool operator==(const PageAligned&) const = default;
};

// Random weights of a storage's size.
class Weights {
 public:
  Weights(const StorageName& storage, size_t rows, size_t width, uint32_t seed) {
    const size_t blocks = Blocks(width);
    const size_t bytes = IsBlocked(storage.storage) ? rows * blocks * BlockBytes(storage.storage)
                                                    : rows * width * static_cast<size_t>(storage.bytes);
    data_.resize(bytes);
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> floats(-0.05f, 0.05f);
    if (storage.storage == Storage::kFp32) {
      float* to = reinterpret_cast<float*>(data_.data());
      for (size_t i = 0; i < rows * width; ++i) to[i] = floats(random);
    } else if (storage.storage == Storage::kBf16) {
      uint16_t* to = reinterpret_cast<uint16_t*>(data_.data());
      for (size_t i = 0; i < rows * width; ++i) {
        const float value = floats(random);
        uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        to[i] = static_cast<uint16_t>(bits >> 16);
      }
    } else if (storage.storage == Storage::kFp16) {
      hwy::float16_t* to = reinterpret_cast<hwy::float16_t*>(data_.data());
      for (size_t i = 0; i < rows * width; ++i) to[i] = hwy::F16FromF32(floats(random));
    } else {
      for (size_t i = 0; i + 4 <= bytes; i += 4) {
        const uint32_t bits = random();
        std::memcpy(&data_[i], &bits, 4);
      }
      const float scale = 0.056f / static_cast<float>(1 << (CodeBits(storage.storage) - 1));
      scales_.assign(rows * blocks, reference::Fp16Of({scale})[0]);
    }
  }
  Matrix matrix() const { return {data_.data(), scales_.empty() ? nullptr : scales_.data()}; }

 private:
  std::vector<uint8_t, PageAligned<uint8_t>> data_;
  std::vector<uint16_t, PageAligned<uint16_t>> scales_;
};

}  // namespace lacuna

#endif  // LACUNA_BENCH_WEIGHTS_H_
