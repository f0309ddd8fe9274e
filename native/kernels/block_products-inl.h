// Products of coded inputs with rows of 4-bit to 8-bit weights, in blocks of 32 with a float16 scale each, row after
// row, for one token or several.
//
// An input is also coded to 8 bits in blocks, so that four products take one lane of an instruction. The offset of a
// code's zero adds a known amount to a lane. A lane's sum starts from it, so sums within a block are exact. Blocks are
// added in float, in an order that does not depend on how many rows and tokens are computed side by side. Sums start as
// if every zero were the middle code. The distance of a stored zero from the middle counts once for each block, times
// the sum of the block's input.
#if defined(LACUNA_KERNELS_BLOCK_PRODUCTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_BLOCK_PRODUCTS_INL_H_
#undef LACUNA_KERNELS_BLOCK_PRODUCTS_INL_H_
#else
#define LACUNA_KERNELS_BLOCK_PRODUCTS_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/byte_products-inl.h"
#include "kernels/coded_input.h"
#include "kernels/decoder.h"
#include "kernels/rows_ahead-inl.h"
#include "kernels/widened-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The sums of kCount vectors' lanes, in the first kCount lanes. Lanes are added pair by pair, whatever kCount is.
// `width` lanes of each vector are still to be added.
template <size_t kCount, class D, class V = hn::Vec<D>>
HWY_INLINE V SumsOfLanes(D d, const V* vectors, size_t width = hn::MaxLanes(D())) {
  const auto pairs = [d](V a, V b) HWY_ATTR { return hn::Add(hn::ConcatEven(d, b, a), hn::ConcatOdd(d, b, a)); };
  if constexpr (kCount == 1) {
    V sums = vectors[0];
    for (; width > 1; width /= 2) sums = pairs(sums, sums);
    return sums;
  } else {
    V half[kCount / 2];
#pragma GCC unroll 8
    for (size_t i = 0; i < kCount / 2; ++i) half[i] = pairs(vectors[2 * i], vectors[2 * i + 1]);
    return SumsOfLanes<kCount / 2>(d, half, width / 2);
  }
}

template <Storage kStorage>
struct BlockProducts {
  // Whether a byte holds two codes, or their lower bits.
  static constexpr bool kIsHalves = kStorage != Storage::kInt8;
  // Bytes of a block without upper planes, and with them.
  static constexpr size_t kBlockBytes = kIsHalves ? kBlock / 2 : kBlock;
  static constexpr size_t kStoredBytes = BlockBytes(kStorage);
  static constexpr size_t kPlanes = UpperPlanes(kStorage);
  static constexpr size_t kBlockLanes = CodedTokens::kLanesOf(kStorage);
  // The middle code.
  static constexpr uint8_t kZero = 1 << (CodeBits(kStorage) - 1);
  // Tokens that share a load of a row. With more, the scales of rows and tokens would not fit into registers beside the
  // sums.
  static constexpr size_t kTokenTile = 2;
  static constexpr size_t kRowTile = 4;
  static constexpr size_t kRowChunk = 64;

  using D = hn::ScalableTag<float>;
  using V = hn::Vec<D>;

  // Upper planes of a row from some block on. Each has two halves: of the first and of the last columns of blocks. Lower
  // bits follow, so eight bytes can be read from any place.
  struct UpperPlanesOfRow {
    const uint8_t* bits;
    size_t half_bytes;
  };
  struct NoPlanes {};
  struct Row {
    const uint8_t* codes;
    const uint16_t* scales;
    std::conditional_t<kPlanes == 0, NoPlanes, UpperPlanesOfRow> upper;
  };
  // A row of that many blocks.
  static HWY_INLINE Row RowAt(const uint8_t* codes, const uint16_t* scales, size_t blocks) {
    if constexpr (kPlanes == 0) {
      return {codes, scales, {}};
    } else {
      return {codes + kPlanes * 2 * blocks * kHalfBits, scales, {codes, blocks * kHalfBits}};
    }
  }
  // Where a whole row's bytes begin.
  static HWY_INLINE const uint8_t* StartOf(const Row& row) {
    if constexpr (kPlanes == 0) {
      return row.codes;
    } else {
      return row.upper.bits;
    }
  }
  static HWY_INLINE Row RowOf(const Matrix& matrix, size_t columns, size_t j) {
    const size_t blocks = Blocks(columns);
    return RowAt(static_cast<const uint8_t*>(matrix.data) + j * blocks * kStoredBytes, matrix.scales + j * blocks, blocks);
  }
  // The row without its first blocks.
  static HWY_INLINE Row From(Row row, size_t blocks) {
    row.codes += blocks * kBlockBytes;
    row.scales += blocks;
    if constexpr (kPlanes > 0) row.upper.bits += blocks * kHalfBits;
    return row;
  }
  // Where the bits of a plane begin for a half of the columns.
  static HWY_INLINE const uint8_t* PlaneOf(const Row& row, size_t plane, size_t half) {
    return row.upper.bits + (2 * plane + half) * row.upper.half_bytes;
  }
  // Bytes that a block has in half a plane.
  static constexpr size_t kHalfBits = kBlock / 2 / 8;

  // The distance of zeros below the middle code. None:
  struct MiddleZeros {
    static constexpr bool kAreStored = false;
  };
  // As a tile's rows store them, among their own codes or among finer ones: a code of int4 is sixteen of int8.
  template <Storage kIn>
  struct ZerosIn {
    static constexpr bool kAreStored = true;
    static constexpr Storage kStored = kIn;

    // For row r and a vector of blocks, `left` of which exist.
    HWY_INLINE V Below(size_t r, size_t block, size_t left) const {
      const D d;
      const hn::Rebind<uint8_t, D> dbytes;
      const auto load = [left, from = rows[r]](auto d8, size_t at, size_t count) HWY_ATTR {
        return left == hn::Lanes(D()) ? hn::LoadU(d8, from + at) : hn::LoadN(d8, from + at, count);
      };
      hn::Vec<decltype(dbytes)> zeros;
      if constexpr (kIn == Storage::kInt4) {
        const hn::Repartition<uint16_t, decltype(dbytes)> dpairs;
        // The halves of a byte become two bytes.
        const auto pairs = hn::PromoteTo(dpairs, load(hn::Rebind<uint8_t, decltype(dpairs)>(), block / 2, (left + 1) / 2));
        zeros = hn::BitCast(dbytes, hn::And(hn::Or(pairs, hn::ShiftLeft<4>(pairs)), hn::Set(dpairs, uint16_t{0x0f0f})));
      } else {
        zeros = load(dbytes, block, left);
      }
      const auto size = hn::Set(d, kIn == kStorage ? 1.0f : 1.0f / 16);
      constexpr float kMiddle = kPlanes > 0 ? 128 : kZero;
      return hn::NegMulAdd(hn::ConvertTo(d, hn::PromoteTo(DI(), zeros)), size, hn::Set(d, kMiddle));
    }

    const uint8_t* rows[kRowTile];
  };
  using StoredZeros = ZerosIn<kStorage>;

  // kRows rows of a matrix; row_at(r) is the number of each.
  template <class Zeros, size_t kRows, class RowAt>
  static HWY_INLINE Zeros ZerosOf(const BlockMatrix& matrix, RowAt row_at) {
    Zeros zeros;
    if constexpr (Zeros::kAreStored) {
      const size_t bytes = ZeroPointBytes(Zeros::kStored, matrix.columns);
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r) zeros.rows[r] = matrix.stored.zero_points + row_at(r) * bytes;
    }
    return zeros;
  }

  // What is prefetched while a tile is multiplied. It learns which parts of the tile's rows are read, as if they lay
  // one after the other. Nothing:
  struct NothingAhead {
    static HWY_INLINE void Codes(size_t, size_t) {}
    static HWY_INLINE void Scales(size_t, size_t) {}
  };
  // The data at a fixed distance ahead. Rows lie one after the other and are prefetched in that order: line by line
  // where the rows of a tile are read side by side. That is twice as fast as prefetching each row's next line.
  class BytesAhead {
   public:
    explicit BytesAhead(Row first) : codes_(StartOf(first) + kAhead), scales_(first.scales + kAhead / kStoredBytes) {}
    // Whole blocks, without their upper planes.
    HWY_INLINE void Codes(size_t at, size_t bytes) const {
      FetchBytes(codes_ + at / kBlockBytes * kStoredBytes, bytes / kBlockBytes * kStoredBytes);
    }
    HWY_INLINE void Scales(size_t block, size_t blocks) const { FetchBytes(scales_ + block, blocks * sizeof(uint16_t)); }

   private:
    const uint8_t* codes_;
    const uint16_t* scales_;
  };

  // out[t * stride + j] = dot(row first + j, token from + t) + bias[first + j], j < count, t < tokens.
  template <class Stored = StoredZeros>
  static HWY_INLINE void Multiply(const BlockMatrix& matrix, size_t first, size_t count, const CodedTokens& inputs,
                                  size_t from, size_t tokens, float* out, size_t stride) {
    if (matrix.stored.zero_points == nullptr) {
      MultiplyRows<MiddleZeros>(matrix, first, count, inputs, from, tokens, out, stride);
    } else {
      MultiplyStored<Stored>(matrix, first, count, inputs, from, tokens, out, stride);
    }
    if (matrix.bias == nullptr) return;
    for (size_t t = 0; t < tokens; ++t)
      for (size_t j = 0; j < count; ++j) out[t * stride + j] += matrix.bias[first + j];
  }

  // out[t * stride + r] = dot(rows[r], xs[t]).
  template <size_t kRows, size_t kTokens, class Zeros, class Ahead>
  static HWY_INLINE void Tile(const Row* rows, size_t blocks, const CodedInput* xs, const Zeros& zeros, Ahead&& ahead,
                              float* HWY_RESTRICT out, size_t stride) {
    WithByteProducts([&]<class Bytes>(Bytes) HWY_ATTR __attribute__((always_inline)) {
      TileBy<Bytes, kRows, kTokens>(rows, blocks, xs, zeros, ahead, out, stride);
    });
  }

  // Prefetches the first bytes of rows from `first` on.
  static HWY_INLINE void Fetch(const BlockMatrix& matrix, size_t first) {
    const Row row = RowOf(matrix.stored, matrix.columns, first);
    FetchBytes(StartOf(row), kAhead);
    FetchBytes(row.scales, kAhead / kStoredBytes * sizeof(uint16_t));
  }

  // Codes n entries of token t, and pads what products read beyond.
  static HWY_INLINE void Code(const float* x, size_t n, const CodedTokens& to, size_t t) {
    const CodedInput place = to.At(t);
    const size_t whole = n / kBlock;
    for (size_t block = 0; block < whole; ++block) CodeBlock(x + block * kBlock, block, place);
    if (whole < Blocks(n)) {
      float last[kBlock] = {};
      std::copy_n(x + whole * kBlock, n - whole * kBlock, last);
      CodeBlock(last, whole, place);
    }
    FillUp(n, place);
  }

  // Products read whole vectors. Scales and sums past those of n entries become zero, so the other contents do not
  // matter.
  static HWY_INLINE void FillUp(size_t n, const CodedInput& place) {
    for (float* of_blocks : {place.scales, place.sums}) std::fill(of_blocks + Blocks(n), of_blocks + PaddedBlocks(n), 0.0f);
  }

  // Codes the 32 entries of a block. The largest becomes 127 or -127. NaN makes the scale NaN.
  static HWY_INLINE void CodeBlock(const float* HWY_RESTRICT x, size_t block, const CodedInput& place) {
    const DPart d;
    const size_t lanes = hn::Lanes(d);
    auto largest = hn::Zero(d), check = hn::Zero(d);
    for (size_t i = 0; i < kBlock; i += lanes) {
      const auto values = hn::LoadU(d, x + i);
      largest = hn::Max(largest, hn::Abs(values));
      check = hn::MulAdd(values, hn::Zero(d), check);
    }
    const float limit = hn::ReduceMax(d, largest);
    // Numbers so small that dividing by them overflows count as zeros.
    const float inverse = limit > 127 * std::numeric_limits<float>::min() ? 127 / limit : 0;
    const float scale = limit / 127 + hn::ReduceSum(d, check);
    const auto factor = hn::Set(d, inverse);
    const auto store = [&](hn::Vec<DPart> values, int8_t* to) HWY_ATTR {
      hn::StoreU(hn::DemoteTo(hn::Rebind<int8_t, DPart>(), hn::NearestInt(hn::Mul(values, factor))),
                 hn::Rebind<int8_t, DPart>(), to);
    };
    const Place at(block);
    int8_t* first = place.codes + at.first;
    int8_t* second = place.codes + at.second;
    for (size_t i = 0; i < kBlock / 2; i += lanes) {
      hn::Vec<DPart> low, high;
      if constexpr (kStorage == Storage::kInt4) {
        hn::LoadInterleaved2(d, x + 2 * i, low, high);
      } else {
        low = hn::LoadU(d, x + i);
        high = hn::LoadU(d, x + kBlock / 2 + i);
      }
      store(low, first + i);
      store(high, second + i);
    }
    place.scales[block] = scale;
    place.sums[block] = scale * static_cast<float>(StoreStarts(first, second, place.starts + block * kBlockLanes));
  }

 private:
  // Tile with products made by `Bytes`.
  template <class Bytes, size_t kRows, size_t kTokens, class Zeros, class Ahead>
  static HWY_INLINE void TileBy(const Row* rows, size_t blocks, const CodedInput* xs, const Zeros& zeros, Ahead& ahead,
                                float* HWY_RESTRICT out, size_t stride) {
    const D d;
    const DI di;
    const DCodes dcodes;
    const DInput dinput;
    const size_t lanes = hn::Lanes(d);
    const size_t bytes = 4 * lanes;
    // Number of vectors of codes for one vector of scales.
    constexpr size_t kSteps = kBlockLanes;
    const SpreadOfSteps spread;
    V sums[kTokens][kRows];
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r) sums[t][r] = hn::Zero(d);
    }
    for (size_t block = 0; block < blocks; block += lanes) {
      const size_t left = std::min(lanes, blocks - block);
      const bool whole = left == lanes;
      ScalesOfSteps scales[kTokens][kRows];
#pragma GCC unroll 4
      for (size_t r = 0; r < kRows; ++r) {
        const uint16_t* from = rows[r].scales + block;
        const V row_scales = whole ? LoadScales(from) : LoadScales(from, left);
#pragma GCC unroll 4
        for (size_t t = 0; t < kTokens; ++t)
          scales[t][r].Keep(hn::Mul(row_scales, hn::LoadU(d, xs[t].scales + block)), spread);
        if constexpr (Zeros::kAreStored) {
          const V below = hn::Mul(row_scales, zeros.Below(r, block, left));
#pragma GCC unroll 4
          for (size_t t = 0; t < kTokens; ++t)
            sums[t][r] = hn::MulAdd(below, hn::LoadU(d, xs[t].sums + block), sums[t][r]);
        }
      }
      const size_t from = block * kBlockBytes;
      const size_t end = left * kBlockBytes;
      ahead.Scales(kRows * block, kRows * left);
#pragma GCC unroll 8
      for (size_t step = 0; step < kSteps; ++step) {
        if (step * bytes >= end) break;
        const size_t at = from + step * bytes;
        ahead.Codes(kRows * at, kRows * bytes);
        hn::Vec<DCodes> low[kRows], high[kRows];
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r) {
          const uint8_t* codes = rows[r].codes + at;
          low[r] = whole || (step + 1) * bytes <= end ? hn::LoadU(dcodes, codes)
                                                      : hn::LoadN(dcodes, codes, end - step * bytes);
          if constexpr (kIsHalves) {
            high[r] = hn::ShiftRight<4>(low[r]);
            low[r] = hn::And(low[r], hn::Set(dcodes, 15));
          }
          if constexpr (kPlanes > 0) {
            low[r] = WithUpper(low[r], rows[r], 0, at);
            high[r] = WithUpper(high[r], rows[r], 1, at);
          }
        }
#pragma GCC unroll 4
        for (size_t t = 0; t < kTokens; ++t) {
          const int8_t* codes = xs[t].codes + (kIsHalves ? 2 * at : at);
          const auto first_half = hn::LoadU(dinput, codes);
          const auto second_half = kIsHalves ? hn::LoadU(dinput, codes + bytes) : first_half;
          const auto start = hn::LoadU(di, xs[t].starts + at / 4);
#pragma GCC unroll 4
          for (size_t r = 0; r < kRows; ++r) {
            const auto products = kIsHalves ? Bytes::OfHalves(low[r], first_half, high[r], second_half, start)
                                            : Bytes::OfBytes(low[r], first_half, start);
            sums[t][r] = hn::MulAdd(hn::ConvertTo(d, products), scales[t][r].Of(step, spread), sums[t][r]);
          }
        }
      }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokens; ++t) hn::StoreN(SumsOfLanes<kRows>(d, sums[t]), d, out + t * stride, kRows);
  }

  // A vector of lower bits that begins at byte `at` of its row, with the upper ones of that half of the columns. Past the
  // row's last block they are any, and are multiplied by scales of zero.
  static HWY_INLINE hn::Vec<hn::Repartition<uint8_t, D>> WithUpper(hn::Vec<hn::Repartition<uint8_t, D>> lower, const Row& row,
                                                                 size_t half, size_t at) {
    const DCodes dcodes;
#pragma GCC unroll 2
    for (size_t plane = 0; plane < kPlanes; ++plane) {
      const uint8_t* bits = PlaneOf(row, plane, half) + at / 8;
      const auto upper = hn::Set(dcodes, static_cast<uint8_t>(16 << plane));
#if HWY_TARGET_IS_NEON
      lower.raw = vbslq_u8(upper.raw, BitsMoved(bits, 4 + static_cast<int>(plane)), lower.raw);
#else
      lower = hn::MaskedAddOr(lower, hn::LoadMaskBits(dcodes, bits), lower, upper);
#endif
    }
    return lower;
  }
#if HWY_TARGET_IS_NEON
  // Each of 16 bits in a byte of its own, at the place `to`. Other bits of the byte are any. A comparison would make a mask,
  // as LoadMaskBits does; compilers take three instructions to turn that into a bit.
  static HWY_INLINE uint8x16_t BitsMoved(const uint8_t* bits, int to) {
    HWY_ALIGN static constexpr uint8_t kByte[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    HWY_ALIGN static constexpr int8_t kBit[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
    uint16_t pair;
    hwy::CopyBytes<sizeof pair>(bits, &pair);
    const uint8x16_t bytes = vqtbl1q_u8(vreinterpretq_u8_u16(vdupq_n_u16(pair)), vld1q_u8(kByte));
    return vshlq_u8(bytes, vsubq_s8(vdupq_n_s8(static_cast<int8_t>(to)), vld1q_s8(kBit)));
  }
#endif

  using DI = hn::RebindToSigned<D>;
  using DCodes = hn::Repartition<uint8_t, D>;
  using DInput = hn::Repartition<int8_t, D>;

  // A vector of scales is for several steps. Each takes some of them, each for four lanes of products or for eight.
#if HWY_TARGET == HWY_AVX2
  // Lookups across a whole vector are slow, and a broadcast within its halves or from memory is not.
  struct SpreadOfSteps {
    // The two scales of step i become lanes i and 4 + i.
    HWY_INLINE SpreadOfSteps() {
      HWY_ALIGN static constexpr int32_t kHalves[8] = {0, 2, 4, 6, 1, 3, 5, 7};
      halves = hn::SetTableIndices(D(), kHalves);
    }
    decltype(hn::IndicesFromVec(D(), hn::Zero(DI()))) halves;
  };
  class ScalesOfSteps {
   public:
    HWY_INLINE void Keep(V scales, const SpreadOfSteps& spread) {
      if constexpr (kIsHalves) {
        by_halves_ = hn::TableLookupLanes(scales, spread.halves);
      } else {
        hn::Store(scales, D(), each_);
      }
    }
    HWY_INLINE V Of(size_t step, const SpreadOfSteps&) const {
      if constexpr (!kIsHalves) return hn::Set(D(), each_[step]);
      switch (step) {
        case 0:
          return hn::Broadcast<0>(by_halves_);
        case 1:
          return hn::Broadcast<1>(by_halves_);
        case 2:
          return hn::Broadcast<2>(by_halves_);
        default:
          return hn::Broadcast<3>(by_halves_);
      }
    }

   private:
    V by_halves_;
    HWY_ALIGN float each_[8];
  };
#elif HWY_MAX_BYTES == 16
  // A step takes one scale, or two steps do.
  struct SpreadOfSteps {};
  class ScalesOfSteps {
   public:
    // One that is not written would not be compiled for these instructions.
    HWY_INLINE ScalesOfSteps() {}
    HWY_INLINE void Keep(V scales, const SpreadOfSteps&) { scales_ = scales; }
    HWY_INLINE V Of(size_t step, const SpreadOfSteps&) const {
      switch (kIsHalves ? step : step / 2) {
        case 0:
          return hn::Broadcast<0>(scales_);
        case 1:
          return hn::Broadcast<1>(scales_);
        case 2:
          return hn::Broadcast<2>(scales_);
        default:
          return hn::Broadcast<3>(scales_);
      }
    }

   private:
    V scales_;
  };
#else
  struct SpreadOfSteps {
    HWY_INLINE SpreadOfSteps() {
      const DI di;
#pragma GCC unroll 8
      for (size_t step = 0; step < kBlockLanes; ++step) {
        const auto first = static_cast<int32_t>(step * hn::Lanes(di));
        of[step] = hn::IndicesFromVec(D(), hn::ShiftRight<kIsHalves ? 2 : 3>(hn::Iota(di, first)));
      }
    }
    decltype(hn::IndicesFromVec(D(), hn::Zero(DI()))) of[kBlockLanes];
  };
  class ScalesOfSteps {
   public:
    HWY_INLINE void Keep(V scales, const SpreadOfSteps&) { scales_ = scales; }
    HWY_INLINE V Of(size_t step, const SpreadOfSteps& spread) const {
      return hn::TableLookupLanes(scales_, spread.of[step]);
    }

   private:
    V scales_;
  };
#endif

  // At most as many entries as int4 has bytes in a block.
  using DPart = hn::CappedTag<float, kBlock / 2>;
  // How far ahead consecutive rows are prefetched, in bytes of codes.
  static constexpr size_t kAhead = 8192;

  // The places of the two halves of a block's codes: the factors of the low and of the high halves of bytes, or of the
  // first and the last 16 of int8.
  struct Place {
    explicit Place(size_t block) {
      if constexpr (kIsHalves) {
        // A vector of weights holds this many blocks. The factors of their low halves come first.
        const size_t bytes = 4 * hn::Lanes(D());
        const size_t in_vector = bytes / kBlockBytes;
        first = block / in_vector * 2 * bytes + block % in_vector * kBlockBytes;
        second = first + bytes;
      } else {
        first = block * kBlock;
        second = first + kBlock / 2;
      }
    }
    size_t first;
    size_t second;
  };

  // The start of a block's lanes: -zero * (sum of the codes of a lane). Returns the sum of all codes.
  static HWY_INLINE int32_t StoreStarts(const int8_t* first, const int8_t* second, int32_t* starts) {
    const hn::CappedTag<int32_t, 4> di;
    const hn::Repartition<uint8_t, decltype(di)> dcodes;
    const hn::Repartition<int8_t, decltype(di)> dinput;
    const auto zero = hn::Set(dcodes, kZero);
    const auto low = hn::SumOfMulQuadAccumulate(di, zero, hn::LoadU(dinput, first), hn::Zero(di));
    if constexpr (kIsHalves) {
      const auto all = hn::SumOfMulQuadAccumulate(di, zero, hn::LoadU(dinput, second), low);
      hn::StoreU(hn::Neg(all), di, starts);
      return hn::ReduceSum(di, all) / kZero;
    } else {
      const auto high = hn::SumOfMulQuadAccumulate(di, zero, hn::LoadU(dinput, second), hn::Zero(di));
      hn::StoreU(hn::Neg(low), di, starts);
      hn::StoreU(hn::Neg(high), di, starts + 4);
      return hn::ReduceSum(di, hn::Add(low, high)) / kZero;
    }
  }

  // Not inlined, so that the code without stored zeros stays small.
  template <class Zeros>
  static HWY_NOINLINE void MultiplyStored(const BlockMatrix& matrix, size_t first, size_t count, const CodedTokens& inputs,
                                          size_t from, size_t tokens, float* out, size_t stride) {
    MultiplyRows<Zeros>(matrix, first, count, inputs, from, tokens, out, stride);
  }

  template <class Zeros>
  static HWY_INLINE void MultiplyRows(const BlockMatrix& matrix, size_t first, size_t count, const CodedTokens& inputs,
                                      size_t from, size_t tokens, float* out, size_t stride) {
    // Rows stay in the nearest cache while tokens pass.
    for (size_t j = 0; j < count; j += kRowChunk) {
      const size_t rows = std::min(kRowChunk, count - j);
      size_t t = 0;
      for (; t + kTokenTile <= tokens; t += kTokenTile)
        MultiplyTile<kTokenTile, Zeros>(matrix, first + j, rows, inputs, from + t, t == 0, out + t * stride + j, stride);
      for (; t < tokens; ++t)
        MultiplyTile<1, Zeros>(matrix, first + j, rows, inputs, from + t, t == 0, out + t * stride + j, stride);
    }
  }

  template <size_t kTokens, class Zeros>
  static HWY_INLINE void MultiplyTile(const BlockMatrix& matrix, size_t first, size_t count, const CodedTokens& inputs,
                                      size_t token, bool is_first, float* out, size_t stride) {
    CodedInput xs[kTokens];
    for (size_t t = 0; t < kTokens; ++t) xs[t] = inputs.At(token + t);
    const size_t blocks = Blocks(matrix.columns);
    size_t j = 0;
    for (; j + kRowTile <= count; j += kRowTile) {
      Row rows[kRowTile];
#pragma GCC unroll 4
      for (size_t r = 0; r < kRowTile; ++r) rows[r] = RowOf(matrix.stored, matrix.columns, first + j + r);
      const auto zeros = ZerosOf<Zeros, kRowTile>(matrix, [&](size_t r) { return first + j + r; });
      if (is_first) {
        Tile<kRowTile, kTokens>(rows, blocks, xs, zeros, BytesAhead(rows[0]), out + j, stride);
      } else {
        Tile<kRowTile, kTokens>(rows, blocks, xs, zeros, NothingAhead(), out + j, stride);
      }
    }
    for (; j < count; ++j) {
      const Row row = RowOf(matrix.stored, matrix.columns, first + j);
      const auto zeros = ZerosOf<Zeros, 1>(matrix, [&](size_t) { return first + j; });
      Tile<1, kTokens>(&row, blocks, xs, zeros, NothingAhead(), out + j, stride);
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
