// GatedFFN's end: chosen neurons' rows of `down` added up, the post-norm and the saturation.
#if defined(LACUNA_KERNELS_GATED_FFN_DOWN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_GATED_FFN_DOWN_INL_H_
#undef LACUNA_KERNELS_GATED_FFN_DOWN_INL_H_
#else
#define LACUNA_KERNELS_GATED_FFN_DOWN_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/gated_ffn_gate-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows that are added together.
constexpr size_t kEight = 8;

template <class Rows>
HWY_INLINE typename Rows::Row DownRow(const GatedFfn& ffn, size_t j, size_t column) {
  return Rows::From(Rows::RowOf(ffn.down, ffn.hidden, j), column);
}

// Adds a tile's union of rows to its tokens.
template <class Rows, size_t kTokens>
void AddUnion(const Chunk& chunk, size_t token, const uint8_t* list, size_t count, size_t column, size_t columns) {
  float* ys[kTokens];
  const float* coefficients[kTokens];
  for (size_t t = 0; t < kTokens; ++t) {
    ys[t] = chunk.job.Sums(token + t) + column;
    coefficients[t] = chunk.Coefficients(token + t);
  }
  typename Rows::Row rows[kChunk];
  for (size_t i = 0; i < count; ++i) rows[i] = DownRow<Rows>(chunk.job.ffn, chunk.first + list[i], column);
  Rows::AddRowsToTile(rows, list, count, coefficients, columns, ys);
}

// Adds a chunk's neurons to some columns of one token, eight rows at a time; where there are fewer, the first is added 0 times.
template <class Rows>
void AddChunk(const Chunk& chunk, size_t token, size_t column, size_t columns) {
  const GatedFfnJob& job = chunk.job;
  const float* coefficients = chunk.Coefficients(token);
  const uint8_t* list = chunk.List(token);
  const size_t count = job.ChunkCount(token, chunk.index);
  RowsAhead none;
  for (size_t i = 0; i < count; i += kEight) {
    typename Rows::Row rows[kEight];
    float factors[kEight];
    for (size_t r = 0; r < kEight; ++r) {
      const uint8_t j = list[i + r < count ? i + r : i];
      rows[r] = DownRow<Rows>(job.ffn, chunk.first + j, column);
      factors[r] = i + r < count ? coefficients[j] : 0;
    }
    Rows::AddEight(rows, factors, columns, none, job.Sums(token) + column, job.Zeros(token, column));
  }
}

// Adds a chunk's neurons to some columns of several tokens.
template <class Rows>
void DownTokens(const Chunk& chunk, size_t column, size_t columns) {
  const GatedFfnJob& job = chunk.job;
  ForTokenTiles<Rows>(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    if constexpr (kTokens > 1 && Rows::kSumsTiles) {
      const size_t count = job.TileCount(token / kTokens, chunk.index);
      const uint8_t* list = job.TileList(token / kTokens) + chunk.first;
      if (count != kTokenByToken) return AddUnion<Rows, kTokens>(chunk, token, list, count, column, columns);
    }
    for (size_t t = token; t < token + kTokens; ++t) AddChunk<Rows>(chunk, t, column, columns);
  });
}

// Sums of a segment, or of a token, begin and end.
template <class Rows>
HWY_INLINE void StartSums(const GatedFfnJob& job, size_t index, size_t column, size_t columns) {
  std::fill_n(job.Sums(index) + column, PaddedColumns(columns), 0.0f);
  Rows::StartColumns(columns, job.Zeros(index, column));
}
template <class Rows>
HWY_INLINE void EndSums(const GatedFfnJob& job, size_t index, size_t column, size_t columns) {
  Rows::FinishColumns(job.Sums(index) + column, columns, job.Zeros(index, column));
}

// y, from the bias on, gets a segment's sums.
inline void AddSums(const float* sums, size_t columns, float* y) {
  const Floats d;
  for (size_t i = 0; i < columns; i += hn::Lanes(d)) {
    const size_t left = columns - i;
    hn::StoreN(hn::Add(hn::LoadN(d, y + i, left), hn::LoadN(d, sums + i, left)), d, y + i, left);
  }
}

template <class Rows>
void DownItem(const GatedFfnJob& job, const TokenBlock& block, size_t item) {
  const size_t column = item * job.columns;
  const size_t columns = std::min(job.columns, job.ffn.hidden - column);
  const auto output = [&](size_t t) { return job.Output(block.first + t) + column; };
  for (size_t t = 0; t < block.count; ++t) {
    if (job.ffn.down_bias == nullptr) {
      std::fill_n(output(t), columns, 0.0f);
    } else {
      std::copy_n(job.ffn.down_bias + column, columns, output(t));
    }
    if (item == 0 && job.tokens.kept != nullptr) job.tokens.kept[job.TokenOf(block.first + t)] = job.Kept(t);
  }
  for (size_t segment = 0; segment < job.segments; ++segment) {
    if (block.count == 1) {
      AddSums(job.Sums(segment) + column, columns, output(0));
      continue;
    }
    for (size_t t = 0; t < block.count; ++t) StartSums<Rows>(job, t, column, columns);
    // A chunk's rows stay in the cache while all tokens pass.
    for (size_t c = job.FirstChunk(segment); c < job.FirstChunk(segment + 1); ++c)
      DownTokens<Rows>(Chunk{job, block, c}, column, columns);
    for (size_t t = 0; t < block.count; ++t) {
      EndSums<Rows>(job, t, column, columns);
      AddSums(job.Sums(t) + column, columns, output(t));
    }
  }
}

// Post-norm and saturation, which need a token's whole y.
inline void FinishItem(const GatedFfnJob& job, size_t token) {
  const size_t n = job.ffn.hidden, place = job.TokenOf(token);
  float* y = job.Output(token);
  if (job.ffn.post_norm.weight != nullptr) Normalise(job.ffn.post_norm, y, n, y);
  const Mask& mask = job.tokens.mask;
  if (mask.saturation != nullptr) mask.saturation[place] = SaturationOf(mask.residual + place * n, y, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
