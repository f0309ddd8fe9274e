// Working memory of kernels, kept between calls so that the steady state allocates nothing.
#ifndef LACUNA_KERNELS_SCRATCH_H_
#define LACUNA_KERNELS_SCRATCH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "kernels/checked.h"

namespace lacuna {

// One growing block, aligned to cache lines. Throws std::bad_alloc.
class Scratch {
 public:
  static constexpr size_t kAlignment = 64;

  uint8_t* AtLeast(size_t bytes) {
    if (bytes > size_) {
      block_.reset();
      size_ = 0;
      block_.reset(static_cast<uint8_t*>(::operator new(bytes, std::align_val_t{kAlignment})));
      size_ = bytes;
    }
    return block_.get();
  }

 private:
  struct Free {
    void operator()(uint8_t* block) const { ::operator delete(block, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<uint8_t, Free> block_;
  size_t size_ = 0;
};

// Gives blocks to calls that may run at the same time. It holds as many as ever ran at once.
class ScratchPool {
 public:
  std::unique_ptr<Scratch> Take() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        std::unique_ptr<Scratch> taken = std::move(free_.back());
        free_.pop_back();
        return taken;
      }
    }
    return std::make_unique<Scratch>();
  }

  void Return(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

// Cuts a block into arrays: first to add up sizes (with no block), then to place them. Throws std::length_error if the
// sizes are too large for memory.
class ScratchLayout {
 public:
  explicit ScratchLayout(uint8_t* block) : block_(block) {}

  // [sizes...]: the array has as many entries as the product of the sizes.
  template <typename T, typename... Sizes>
  T* Array(Sizes... sizes) {
    const size_t start = bytes_;
    const size_t used = Sum(Product({sizeof(T), sizes...}), Scratch::kAlignment - 1);
    bytes_ = Sum(bytes_, used / Scratch::kAlignment * Scratch::kAlignment);
    return block_ == nullptr ? nullptr : reinterpret_cast<T*>(block_ + start);
  }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* block_;
  size_t bytes_ = 0;
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_SCRATCH_H_
