// Prefetches the rows that are read next, while others are multiplied.
//
// Memory is fastest when eight scattered rows are prefetched side by side, line by line, and consecutive rows in their
// order. Rows prefetched one by one, or all at once, take a third longer (docs/native.md).
#if defined(LACUNA_KERNELS_ROWS_AHEAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_ROWS_AHEAD_INL_H_
#undef LACUNA_KERNELS_ROWS_AHEAD_INL_H_
#else
#define LACUNA_KERNELS_ROWS_AHEAD_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

constexpr size_t kLine = 64;

// Prefetches the line of this byte into the second cache. The first can wait for few lines at a time (24 on Zen 4). Once it
// waits for that many, one more prefetch stops the products behind it.
HWY_INLINE void FetchLine(const void* from) { __builtin_prefetch(from, 0, 2); }

// Prefetches bytes in their order.
HWY_INLINE void FetchBytes(const void* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kLine) FetchLine(static_cast<const uint8_t*>(from) + at);
}

// The same part of some rows: all codes, or all scales, or both if they lie together.
class PartAhead {
 public:
  static constexpr size_t kMostRows = 8;

  PartAhead() = default;
  // rows(r) is the start of row r's part, r < count.
  template <class Rows>
  HWY_INLINE PartAhead(size_t count, size_t bytes, Rows rows) : count_(count), bytes_(count == 0 ? 0 : bytes) {
    for (size_t r = 0; r < count; ++r) rows_[r] = reinterpret_cast<const uint8_t*>(rows(r));
    lie_together_ = count > 0 && rows_[count - 1] == rows_[0] + (count - 1) * bytes;
  }

  size_t lines() const { return (bytes_ + kLine - 1) / kLine; }
  bool IsDone() const { return at_ >= bytes_; }

  HWY_INLINE void AskForPages() const {
    for (size_t r = 0; r < count_; ++r) FetchLine(rows_[r]);
  }

  // One more line of each.
  HWY_INLINE void AskForLine() {
    for (size_t r = 0; r < count_; ++r) FetchLine(lie_together_ ? rows_[0] + count_ * at_ + r * kLine : rows_[r] + at_);
    at_ += kLine;
  }

 private:
  const uint8_t* rows_[kMostRows];
  size_t count_ = 0;
  size_t bytes_ = 0;
  size_t at_ = 0;
  bool lie_together_ = false;
};

class RowsAhead {
 public:
  HWY_INLINE void Add(const PartAhead& part) {
    parts_[count_++] = part;
    lines_ += part.lines();
  }

  // All is prefetched in this number of calls of Step.
  void Spread(size_t steps) { steps_ = steps; }

  HWY_INLINE void Step() {
    for (due_ += lines_; due_ >= steps_; due_ -= steps_) AskForLine();
  }

  // One line of each row. In a page that was not read lately, finding the page takes longest.
  HWY_INLINE void AskForPages() const {
    for (size_t i = 0; i < count_; ++i) parts_[i].AskForPages();
  }

  void AskForAll() {
    while (now_ < count_) AskForLine();
  }

 private:
  HWY_INLINE void AskForLine() {
    while (now_ < count_ && parts_[now_].IsDone()) ++now_;
    if (now_ < count_) parts_[now_].AskForLine();
  }

  // Codes and scales of gate, up and down.
  PartAhead parts_[6];
  size_t count_ = 0;
  size_t now_ = 0;
  size_t lines_ = 0;
  size_t steps_ = 1;
  // Lines that are due, times the steps.
  size_t due_ = 0;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
