// GatedFFN's rows of 4-bit to 8-bit weights, in blocks of 32 with a float16 scale each.
//
// Dot products are those of block_products-inl.h. Weighted sums of rows (down) keep their coefficients in float.
#if defined(LACUNA_KERNELS_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_BLOCKS_INL_H_
#undef LACUNA_KERNELS_BLOCKS_INL_H_
#else
#define LACUNA_KERNELS_BLOCKS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "kernels/block_products-inl.h"
#include "kernels/coded_input.h"
#include "kernels/matrix.h"
#include "kernels/rows_ahead-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <Storage kStorage>
struct BlockRows {
  using Down = BlockRows;
  using Products = BlockProducts<kStorage>;
  using Row = typename Products::Row;
  using Input = CodedInput;
  static constexpr size_t kBlockBytes = Products::kBlockBytes;
  static constexpr size_t kStoredBytes = Products::kStoredBytes;
  static constexpr size_t kTokenTile = Products::kTokenTile;
  // Weighted sums are made token by token: for the second token, a chunk's rows are in the cache.
  static constexpr bool kSumsTiles = false;

  static HWY_INLINE Row RowOf(const Matrix& matrix, size_t width, size_t j) {
    const auto at = [j](const void* first, size_t stride, size_t bytes) {
      return static_cast<const uint8_t*>(first) + j * (stride == 0 ? bytes : stride);
    };
    return Products::RowAt(at(matrix.data, matrix.stride, Blocks(width) * kStoredBytes),
                           reinterpret_cast<const uint16_t*>(at(matrix.scales, matrix.scales_stride, ScaleBytes(width))),
                           Blocks(width));
  }
  static Row From(Row row, size_t column) { return Products::From(row, column / kBlock); }

  // Rows that are read later.
  static HWY_INLINE void AddAhead(const Row* rows, size_t count, size_t n, RowsAhead& ahead) {
    const auto codes_of = [&](size_t r) { return Products::StartOf(rows[r]); };
    const size_t bytes = Blocks(n) * kStoredBytes;
    // In records a row's scales come after its codes, and may end one line later.
    if (count > 0 && static_cast<const void*>(rows[0].scales) == codes_of(0) + bytes) {
      ahead.Add(PartAhead(count, bytes + ScaleBytes(n), codes_of));
    } else {
      ahead.Add(PartAhead(count, ScaleBytes(n), [&](size_t r) { return rows[r].scales; }));
      ahead.Add(PartAhead(count, bytes, codes_of));
    }
  }

  // dots[t * stride + i] = dot(rows[i], xs[t]), i < count. Not inlined: a call is for many rows, and copies of this code were
  // most of what compilers had to do.
  template <size_t kTokens>
  static HWY_NOINLINE void Dot(const Row* rows, size_t count, const Input* xs, size_t n, float* dots, size_t stride) {
    if (count == 0) return;
    const size_t blocks = Blocks(n);
    // Rows ascend, so none is missing between the first and the last if these are that far apart.
    const bool in_order = rows[count - 1].codes == rows[0].codes + (count - 1) * blocks * kStoredBytes;
    size_t i = 0;
    for (; i + kTile <= count; i += kTile) {
      if (in_order) {
        Products::template Tile<kTile, kTokens>(rows + i, blocks, xs, kZeros, typename Products::BytesAhead(rows[i]), dots + i,
                                                stride);
      } else {
        RowsAhead ahead;
        AddAhead(rows + i + kTile, std::min(kTile, count - i - kTile), n, ahead);
        ahead.Spread(CodeSteps(n));
        Products::template Tile<kTile, kTokens>(rows + i, blocks, xs, kZeros, AheadInSteps{ahead}, dots + i, stride);
      }
    }
    for (; i < count; ++i)
      Products::template Tile<1, kTokens>(rows + i, blocks, xs, kZeros, typename Products::NothingAhead(), dots + i, stride);
  }

  // Steps of DotEight and of AddEight.
  static size_t DotSteps(size_t n) { return 2 * CodeSteps(n); }
  static size_t SumSteps(size_t n) { return Blocks(n); }

  // dots[r] = dot(rows[r], x) for eight rows.
  static HWY_INLINE void DotEight(const Row* rows, const Input& x, size_t n, RowsAhead& ahead, float* dots) {
    for (size_t r = 0; r < 8; r += kTile)
      Products::template Tile<kTile, 1>(rows + r, Blocks(n), &x, kZeros, AheadInSteps{ahead}, dots + r, 0);
  }

  // sums[i] += sum over r of coefficients[r] * rows[r][i] for eight rows, i < n, row by row. FinishColumns does two
  // things at the end. The contribution of the codes' zero to a block is summed in `zeros` [blocks] and subtracted
  // then. And in int4's blocks the even columns come first until then. Sums are whole blocks.
  static HWY_INLINE void AddEight(const Row* rows, const float* coefficients, size_t n, RowsAhead& ahead, float* sums,
                                  float* zeros) {
    for (size_t first = 0; first < Blocks(n); first += kPart) {
      const size_t blocks = std::min(kPart, Blocks(n) - first);
      float factors[8][kPart];
      ScaleCoefficients(rows, coefficients, first, blocks, factors, zeros);
      for (size_t block = first; block < first + blocks; ++block) {
        ahead.Step();
        AddBlock(rows, factors, block, block - first, sums + block * kBlock);
      }
    }
  }

  static void StartColumns(size_t columns, float* zeros) { std::fill_n(zeros, Blocks(columns), 0.0f); }
  static void FinishColumns(float* sums, size_t n, const float* zeros) {
    const DPart d;
    const size_t lanes = hn::Lanes(d);
    for (size_t block = 0; block < Blocks(n); ++block, sums += kBlock) {
      const auto zero = hn::Set(d, static_cast<float>(Products::kZero) * zeros[block]);
      float columns[kBlock];
      for (size_t i = 0; i < kBlock / 2; i += lanes) {
        const auto first = hn::Sub(hn::LoadU(d, sums + i), zero), second = hn::Sub(hn::LoadU(d, sums + kBlock / 2 + i), zero);
        if constexpr (kStorage == Storage::kInt4) {
          hn::StoreInterleaved2(first, second, d, columns + 2 * i);
        } else {
          hn::StoreU(first, d, columns + i);
          hn::StoreU(second, d, columns + kBlock / 2 + i);
        }
      }
      std::copy_n(columns, kBlock, sums);
    }
  }

 private:
  static constexpr size_t kTile = Products::kRowTile;
  static constexpr typename Products::MiddleZeros kZeros{};
  static_assert(8 % kTile == 0);

  // One step for each load of codes.
  struct AheadInSteps {
    RowsAhead& rows;
    HWY_INLINE void Codes(size_t, size_t) { rows.Step(); }
    HWY_INLINE void Scales(size_t, size_t) {}
  };
  static size_t CodeSteps(size_t n) { return DivideUp(Blocks(n) * kBlockBytes, 4 * hn::Lanes(D())); }

  // Blocks whose factors are kept at a time.
  static constexpr size_t kPart = 64;
  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;
  // At most as many entries as int4 has bytes in a block.
  using DPart = hn::CappedTag<float, kBlock / 2>;
  using DPartInt = hn::RebindToSigned<DPart>;
  using DPartCodes = hn::Rebind<uint8_t, DPart>;

  // factors[r][i] = coefficients[r] * scale of block first + i of row r. Their sum over r is added to `zeros`.
  static HWY_INLINE void ScaleCoefficients(const Row* rows, const float* coefficients, size_t first, size_t blocks,
                                           float (*factors)[kPart], float* zeros) {
    const D d;
    const size_t lanes = hn::Lanes(d);
    for (size_t i = 0; i < blocks; i += lanes) {
      const size_t count = std::min(lanes, blocks - i);
      V sum = hn::LoadN(d, zeros + first + i, count);
#pragma GCC unroll 8
      for (size_t r = 0; r < 8; ++r) {
        const V scales = LoadScales(rows[r].scales + first + i, count);
        const V factor = hn::Mul(hn::Set(d, coefficients[r]), scales);
        hn::StoreN(factor, d, factors[r] + i, count);
        sum = hn::Add(sum, factor);
      }
      hn::StoreN(sum, d, zeros + first + i, count);
    }
  }

  // Lower bits of a half of a block's columns from column i on, with the upper ones.
  static HWY_INLINE hn::Vec<DPartInt> WithUpper(hn::Vec<DPartInt> lower, [[maybe_unused]] const Row& row,
                                              [[maybe_unused]] size_t half, [[maybe_unused]] size_t block,
                                              [[maybe_unused]] size_t i) {
    const DPartInt di;
#pragma GCC unroll 2
    for (size_t plane = 0; plane < Products::kPlanes; ++plane) {
      if constexpr (Products::kPlanes > 0) {
        uint16_t of_block;
        std::memcpy(&of_block, Products::PlaneOf(row, plane, half) + block * sizeof(of_block), sizeof(of_block));
        const uint64_t bits = of_block >> i;
        const auto is_set = hn::LoadMaskBits(di, reinterpret_cast<const uint8_t*>(&bits));
        lower = hn::MaskedAddOr(lower, is_set, lower, hn::Set(di, 16 << plane));
      }
    }
    return lower;
  }

  static HWY_INLINE void AddBlock(const Row* rows, const float (*factors)[kPart], size_t block, size_t at, float* sums) {
    const DPart d;
    const DPartInt di;
    const DPartCodes dcodes;
    const size_t lanes = hn::Lanes(d);
    for (size_t i = 0; i < kBlockBytes; i += lanes) {
      const auto codes_of = [&](size_t r) HWY_ATTR {
        return hn::PromoteTo(di, hn::LoadU(dcodes, rows[r].codes + block * kBlockBytes + i));
      };
      auto low = hn::LoadU(d, sums + i);
      if constexpr (Products::kIsHalves) {
        auto high = hn::LoadU(d, sums + kBlock / 2 + i);
#pragma GCC unroll 8
        for (size_t r = 0; r < 8; ++r) {
          const auto codes = codes_of(r);
          const auto factor = hn::Set(d, factors[r][at]);
          const auto firsts = WithUpper(hn::And(codes, hn::Set(di, 15)), rows[r], 0, block, i);
          const auto lasts = WithUpper(hn::ShiftRight<4>(codes), rows[r], 1, block, i);
          low = hn::MulAdd(factor, hn::ConvertTo(d, firsts), low);
          high = hn::MulAdd(factor, hn::ConvertTo(d, lasts), high);
        }
        hn::StoreU(high, d, sums + kBlock / 2 + i);
      } else {
#pragma GCC unroll 8
        for (size_t r = 0; r < 8; ++r)
          low = hn::MulAdd(hn::Set(d, factors[r][at]), hn::ConvertTo(d, codes_of(r)), low);
      }
      hn::StoreU(low, d, sums + i);
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
