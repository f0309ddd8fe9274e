// Products with rows of 8 or 4 bits a weight, in blocks of 32 with a float scale each.
//
// Dot products quantise the input to 8 bits a block as well, so that four products take one lane of an instruction; sums
// within a block are exact, and blocks are added in float. Weighted sums of rows (down) keep their coefficients in float.
#if defined(LACUNA_KERNELS_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_BLOCKS_INL_H_
#undef LACUNA_KERNELS_BLOCKS_INL_H_
#else
#define LACUNA_KERNELS_BLOCKS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/matrix.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <Storage kStorage>
struct BlockRows {
  static constexpr bool kIsInt4 = kStorage == Storage::kInt4;
  static constexpr size_t kBlockBytes = kIsInt4 ? kBlock / 2 : kBlock;
  static constexpr int kZero = kIsInt4 ? 8 : 128;
  // Tokens are taken one by one: a chunk's rows are in the cache by the second.
  static constexpr size_t kTokenTile = 1;
  static constexpr size_t kRowGroup = 4;

  struct Row {
    const uint8_t* codes;
    const float* scales;
  };
  using Input = QuantisedInput;

  static Row RowOf(const Matrix& matrix, size_t width, size_t j) {
    const size_t blocks = Blocks(width);
    return {static_cast<const uint8_t*>(matrix.data) + j * blocks * kBlockBytes, matrix.scales + j * blocks};
  }
  static Row From(Row row, size_t column) {
    return {row.codes + column / kBlock * kBlockBytes, row.scales + column / kBlock};
  }

  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  using DI = hn::RebindToSigned<D>;
  using DCodes = hn::Repartition<uint8_t, D>;
  using DInput = hn::Repartition<int8_t, D>;

  // out[r] = dot(rows[r], x). What is wanted next are the rows of `next`, or where that is null whatever follows the rows, which
  // then lie one after the other.
  template <size_t kRows>
  static HWY_INLINE void DotGroup(const Row* rows, const Input& x, size_t n, const Row* next, float* out) {
    const D d;
    const DI di;
    const DCodes dcodes;
    const DInput dinput;
    const size_t lanes = hn::Lanes(d);
    const size_t bytes = 4 * lanes;
    // A vector of scales belongs to so many vectors of codes.
    constexpr size_t kSteps = kBlockBytes / 4;
    const size_t blocks = Blocks(n);
    // Which of a vector of scales each lane of each step's products takes.
    decltype(hn::IndicesFromVec(d, hn::Zero(di))) spread[kSteps];
#pragma GCC unroll 8
    for (size_t step = 0; step < kSteps; ++step)
      spread[step] =
          hn::IndicesFromVec(d, hn::ShiftRight<kIsInt4 ? 2 : 3>(hn::Iota(di, static_cast<int32_t>(step * lanes))));
    V sums[kRows], shifts[kRows];
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r) sums[r] = shifts[r] = hn::Zero(d);
    for (size_t block = 0; block < blocks; block += lanes) {
      const size_t left = std::min(lanes, blocks - block);
      const bool whole = left == lanes;
      const V x_scales = hn::LoadU(d, x.scales + block);
      const V x_sums = hn::LoadU(d, x.sums + block);
      V scales[kRows];
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r) {
        const V row_scales = whole ? hn::LoadU(d, rows[r].scales + block) : hn::LoadN(d, rows[r].scales + block, left);
        scales[r] = hn::Mul(row_scales, x_scales);
        shifts[r] = hn::MulAdd(row_scales, x_sums, shifts[r]);
        if (next != nullptr) hwy::Prefetch(next[r].scales + block);
      }
      if (next == nullptr)
        FetchAhead(rows[0].scales + kRows * block + kAhead / kBlockBytes, kRows * left * sizeof(float));
      const size_t from = block * kBlockBytes;
      const size_t end = left * kBlockBytes;
#pragma GCC unroll 8
      for (size_t step = 0; step < kSteps; ++step) {
        if (step * bytes >= end) break;
        const size_t at = from + step * bytes;
        const auto load = [&](const uint8_t* codes) HWY_ATTR {
          return whole || (step + 1) * bytes <= end ? hn::LoadU(dcodes, codes + at)
                                                    : hn::LoadN(dcodes, codes + at, end - step * bytes);
        };
        if (next == nullptr) FetchAhead(rows[0].codes + kRows * at + kAhead, kRows * bytes);
        const auto first = hn::LoadU(dinput, x.codes + (kIsInt4 ? 2 * at : at));
        const auto second = kIsInt4 ? hn::LoadU(dinput, x.codes + 2 * at + bytes) : first;
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r) {
          const auto codes = load(rows[r].codes);
          if (next != nullptr) hwy::Prefetch(next[r].codes + at);
          auto products = hn::Zero(di);
          if constexpr (kIsInt4) {
            products = hn::SumOfMulQuadAccumulate(di, hn::And(codes, hn::Set(dcodes, 15)), first, products);
            products = hn::SumOfMulQuadAccumulate(di, hn::ShiftRight<4>(codes), second, products);
          } else {
            products = hn::SumOfMulQuadAccumulate(di, codes, first, products);
          }
          sums[r] = hn::MulAdd(hn::ConvertTo(d, products), hn::TableLookupLanes(scales[r], spread[step]), sums[r]);
        }
      }
    }
#pragma GCC unroll 4
    for (size_t r = 0; r < kRows; ++r)
      out[r] = hn::ReduceSum(d, hn::NegMulAdd(hn::Set(d, static_cast<float>(kZero)), shifts[r], sums[r]));
  }

  template <size_t kTokens>
  static HWY_INLINE void Dot(const Row* rows, size_t count, const Input* xs, size_t n, float* dots) {
    static_assert(kTokens == 1);
    if (count == 0) return;
    // Rows ascend, so none is left out between the first and the last when those are so far apart.
    const bool in_order = rows[count - 1].codes == rows[0].codes + (count - 1) * Blocks(n) * kBlockBytes;
    Row next[kRowGroup];
    size_t i = 0;
    for (; i + kRowGroup <= count; i += kRowGroup) {
      for (size_t r = 0; r < kRowGroup; ++r) next[r] = rows[std::min(i + kRowGroup + r, count - 1)];
      DotGroup<kRowGroup>(rows + i, *xs, n, in_order ? nullptr : next, dots + i);
    }
    for (; i < count; ++i) DotGroup<1>(rows + i, *xs, n, rows + count - 1, dots + i);
  }

  // Asks for all of a row.
  static HWY_INLINE void PrefetchRow(Row row, size_t n) {
    for (size_t at = 0; at < Blocks(n) * kBlockBytes; at += kLine) hwy::Prefetch(row.codes + at);
    for (size_t block = 0; block < Blocks(n); block += kLine / sizeof(float)) hwy::Prefetch(row.scales + block);
  }

  // y[i] += sum over r of coefficients[r] * rows[r][i], i < n, row by row, but for the codes' zero: what that adds to a block
  // is summed in `zeros` [blocks], and taken off by FinishColumns.
  template <size_t kRows>
  static HWY_INLINE void AddRows(const Row* rows, const float* coefficients, size_t n, const Row* next, float* y,
                                 float* zeros) {
    for (size_t first = 0; first < Blocks(n); first += kPart) {
      const size_t blocks = std::min(kPart, Blocks(n) - first);
      float factors[kRows][kPart];
      ScaleCoefficients<kRows>(rows, coefficients, first, blocks, next, factors, zeros);
      for (size_t block = first; block < first + blocks; ++block) {
        if (next != nullptr && block * kBlockBytes % kLine == 0) {
#pragma GCC unroll 8
          for (size_t r = 0; r < kRows; ++r) hwy::Prefetch(next[r].codes + block * kBlockBytes);
        }
        const size_t columns = std::min(kBlock, n - block * kBlock);
        float* to = y + block * kBlock;
        if (columns == kBlock) {
          AddBlock<kRows>(rows, factors, block, block - first, to);
          continue;
        }
        // The last block may reach past y.
        float part[kBlock] = {};
        std::copy_n(to, columns, part);
        AddBlock<kRows>(rows, factors, block, block - first, part);
        std::copy_n(part, columns, to);
      }
    }
  }

  static void StartColumns(size_t columns, float* zeros) { std::fill_n(zeros, Blocks(columns), 0.0f); }
  static void FinishColumns(float* y, size_t columns, const float* zeros) {
    for (size_t i = 0; i < columns; ++i) y[i] -= static_cast<float>(kZero) * zeros[i / kBlock];
  }

 private:
  static constexpr size_t kLine = 64;
  // How far ahead rows that lie one after the other are asked for, in bytes of codes: as they lie, line by line, though four
  // of them are read side by side.
  static constexpr size_t kAhead = 8192;

  static HWY_INLINE void FetchAhead(const void* from, size_t bytes) {
    for (size_t at = 0; at < bytes; at += kLine) hwy::Prefetch(static_cast<const uint8_t*>(from) + at);
  }

  // Blocks whose factors are kept at a time.
  static constexpr size_t kPart = 64;
  // At most as many entries as int4 has bytes a block.
  using DPart = hn::CappedTag<float, kBlock / 2>;
  using DPartInt = hn::RebindToSigned<DPart>;
  using DPartCodes = hn::Rebind<uint8_t, DPart>;

  // factors[r][i] = coefficients[r] * scale of block first + i of row r, and their sum over r added to `zeros`.
  template <size_t kRows>
  static HWY_INLINE void ScaleCoefficients(const Row* rows, const float* coefficients, size_t first, size_t blocks,
                                           const Row* next, float (*factors)[kPart], float* zeros) {
    const D d;
    const size_t lanes = hn::Lanes(d);
    for (size_t i = 0; i < blocks; i += lanes) {
      const size_t count = std::min(lanes, blocks - i);
      V sum = hn::LoadN(d, zeros + first + i, count);
#pragma GCC unroll 8
      for (size_t r = 0; r < kRows; ++r) {
        const V scales = hn::LoadN(d, rows[r].scales + first + i, count);
        const V factor = hn::Mul(hn::Set(d, coefficients[r]), scales);
        hn::StoreN(factor, d, factors[r] + i, count);
        sum = hn::Add(sum, factor);
        if (next != nullptr) hwy::Prefetch(next[r].scales + first + i);
      }
      hn::StoreN(sum, d, zeros + first + i, count);
    }
  }

  template <size_t kRows>
  static HWY_INLINE void AddBlock(const Row* rows, const float (*factors)[kPart], size_t block, size_t at, float* y) {
    const DPart d;
    const DPartInt di;
    const DPartCodes dcodes;
    const size_t lanes = hn::Lanes(d);
    for (size_t i = 0; i < kBlockBytes; i += lanes) {
      if constexpr (kIsInt4) {
        hn::Vec<DPart> even, odd;
        hn::LoadInterleaved2(d, y + 2 * i, even, odd);
#pragma GCC unroll 8
        for (size_t r = 0; r < kRows; ++r) {
          const auto codes = hn::PromoteTo(di, hn::LoadU(dcodes, rows[r].codes + block * kBlockBytes + i));
          const auto factor = hn::Set(d, factors[r][at]);
          even = hn::MulAdd(factor, hn::ConvertTo(d, hn::And(codes, hn::Set(di, 15))), even);
          odd = hn::MulAdd(factor, hn::ConvertTo(d, hn::ShiftRight<4>(codes)), odd);
        }
        hn::StoreInterleaved2(even, odd, d, y + 2 * i);
      } else {
        auto sum = hn::LoadU(d, y + i);
#pragma GCC unroll 8
        for (size_t r = 0; r < kRows; ++r) {
          const auto codes = hn::PromoteTo(di, hn::LoadU(dcodes, rows[r].codes + block * kBlockBytes + i));
          sum = hn::MulAdd(hn::Set(d, factors[r][at]), hn::ConvertTo(d, codes), sum);
        }
        hn::StoreU(sum, d, y + i);
      }
    }
  }

 public:
  // Fills `codes` (Blocks(n) blocks, padded), `scales` and `sums` from n floats.
  static void Quantise(const float* x, size_t n, int8_t* codes, float* scales, float* sums) {
    for (size_t block = 0; block < Blocks(n); ++block) {
      const size_t first = block * kBlock;
      const size_t count = std::min(kBlock, n - first);
      float largest = 0;
      for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(x[first + i]));
      const float inverse = largest > 0 ? 127 / largest : 0;
      int sum = 0;
      for (size_t i = 0; i < kBlock; ++i) {
        const float scaled = i < count ? x[first + i] * inverse : 0;
        // What is not a number is caught by the scale, which `largest` does not see.
        const int code = scaled == scaled ? static_cast<int>(std::lrintf(std::clamp(scaled, -127.0f, 127.0f))) : 0;
        sum += code;
        codes[PlaceOf(block, i)] = static_cast<int8_t>(code);
      }
      float check = 0;
      for (size_t i = 0; i < count; ++i) check += x[first + i] * 0;
      scales[block] = largest / 127 + check;
      sums[block] = scales[block] * static_cast<float>(sum);
    }
  }

  // Where entry i of a block lies among the codes of an input.
  static size_t PlaceOf(size_t block, size_t i) {
    if constexpr (!kIsInt4) return block * kBlock + i;
    // A vector of int4 codes holds so many blocks; their even entries come first, then as many bytes of odd ones.
    const size_t bytes = 4 * hn::Lanes(D());
    const size_t in_vector = bytes / kBlockBytes;
    const size_t vector = block / in_vector;
    return vector * 2 * bytes + (i % 2) * bytes + (block % in_vector) * kBlockBytes + i / 2;
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
