// GatedFFN's choice: which neurons of a chunk a token keeps, and what these still lack of act(gate) * up.
#if defined(LACUNA_KERNELS_GATED_FFN_CHOICE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_GATED_FFN_CHOICE_INL_H_
#undef LACUNA_KERNELS_GATED_FFN_CHOICE_INL_H_
#else
#define LACUNA_KERNELS_GATED_FFN_CHOICE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "kernels/gated_ffn_gate-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Lists the chunk's neurons that `below` does not leave out, and gives their values, packed in front; returns how many. What comes
// after them, for a vector at most, is of no use.
template <class Below>
HWY_INLINE size_t PackChosen(const Chunk& chunk, size_t token, Below below, float* HWY_RESTRICT packed) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  const float* values = chunk.Coefficients(token);
  uint8_t* list = chunk.List(token);
  size_t count = 0;
  for (size_t j = 0; j < chunk.size; j += lanes) {
    const FloatVector value = hn::LoadU(d, values + j);
    const auto chosen = hn::AndNot(below(value, j), hn::FirstN(d, chunk.size - j));
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(d, chosen, bytes);
    uint64_t bits;
    std::memcpy(&bits, bytes, sizeof bits);
    // By a register: some processors take a hundred cycles to compress into memory.
    hn::StoreU(hn::Compress(value, chosen), d, packed + count);
    for (; bits != 0; bits &= bits - 1) list[count++] = static_cast<uint8_t>(j + hwy::Num0BitsBelowLS1Bit_Nonzero64(bits));
  }
  return count;
}

// packed[i] = map(packed[i]), by whole vectors.
template <class Map>
HWY_INLINE void MapPacked(float* packed, size_t count, Map map) {
  const Floats d;
  for (size_t i = 0; i < count; i += hn::Lanes(d)) hn::StoreU(map(hn::LoadU(d, packed + i)), d, packed + i);
}

// Which of a vector's neurons are left out. A limit that is the same for all tokens is divided by the weights, as the body has
// it, so that a neuron of weight 0 passes a limit of 0.
HWY_INLINE auto IsBelow(const Chunk& chunk, FloatVector value, size_t j, FloatVector limit) {
  if (chunk.job.two_steps) return hn::Lt(ScoreOf(chunk, value, j), limit);
  const FloatVector least = hn::Set(Floats(), std::numeric_limits<float>::min());
  const FloatVector weights = hn::Max(LoadPerNeuron(chunk, chunk.job.ffn.score_weights, j), least);
  return hn::Lt(hn::Abs(value), hn::Div(limit, weights));
}

// What PackChosen found by a token's cut, as it is to be: gates that deviation cuts as act(gate), 1 where act(gate) * up
// is computed anew, all else as it is.
inline size_t PackByCut(const Chunk& chunk, size_t token, float* packed) {
  const Floats d;
  const GatedFfn& ffn = chunk.job.ffn;
  const TokenCut& cut = chunk.job.cuts[token];
  const FloatVector limit = hn::Set(d, chunk.job.two_steps ? cut.limit : ffn.threshold);
  // "Not below" and not "at least": what is not a number is chosen, so that it shows.
  if (!chunk.job.statistical) {
    const size_t kept = PackChosen(
        chunk, token, [&](FloatVector value, size_t j) HWY_ATTR { return IsBelow(chunk, value, j, limit); }, packed);
    if (chunk.job.anew) std::fill_n(packed, kept, 1.0f);
    return kept;
  }
  const FloatVector mean = hn::Set(d, cut.mean);
  const size_t kept = PackChosen(
      chunk, token, [&](FloatVector gate, size_t) HWY_ATTR { return hn::Lt(hn::Sub(gate, mean), limit); }, packed);
  const bool soft = ffn.choice.mode == TopKMode::kSoft;
  MapPacked(packed, kept, [&](FloatVector gate) HWY_ATTR {
    return Activate(d, ffn.activation, soft ? hn::Sub(hn::Sub(gate, mean), limit) : gate);
  });
  return kept;
}

// All of the chunk, packed, as it is to be.
inline size_t PackAll(const Chunk& chunk, size_t token, float* packed) {
  const Floats d;
  if (chunk.job.anew) {
    std::fill_n(packed, chunk.size, 1.0f);
  } else {
    std::copy_n(chunk.Coefficients(token), chunk.size, packed);
  }
  uint8_t* list = chunk.List(token);
  for (size_t j = 0; j < chunk.size; ++j) list[j] = static_cast<uint8_t>(j);
  if (chunk.job.statistical)
    MapPacked(packed, chunk.size,
              [&](FloatVector gate) HWY_ATTR { return Activate(d, chunk.job.ffn.activation, gate); });
  return chunk.size;
}

// Chooses a token's neurons of the chunk: coefficients of the others become 0, and those whose own is not 0 are listed, since
// the others add nothing.
inline void ChooseNeurons(const Chunk& chunk, size_t token) {
  // Vectors are whole.
  float packed[kChunk + hn::MaxLanes(Floats())] = {};
  const size_t kept = chunk.job.choose_all ? PackAll(chunk, token, packed) : PackByCut(chunk, token, packed);
  float* coefficients = chunk.Coefficients(token);
  uint8_t* list = chunk.List(token);
  std::fill_n(coefficients, chunk.size, 0.0f);
  size_t count = 0;
  for (size_t i = 0; i < kept; ++i) {
    const uint8_t j = list[i];
    coefficients[j] = packed[i];
    list[count] = j;
    count += packed[i] != 0;
  }
  chunk.job.ChunkKept(token, chunk.index) = static_cast<uint8_t>(kept);
  chunk.job.ChunkCount(token, chunk.index) = static_cast<uint8_t>(count);
}

// Neurons listed by any token of a tile.
template <size_t kTokens>
size_t ListUnion(const Chunk& chunk, size_t token, uint8_t* list) {
  size_t count = 0;
  for (size_t j = 0; j < chunk.size; ++j) {
    bool any = false;
    for (size_t t = 0; t < kTokens; ++t) any |= chunk.Coefficients(token + t)[j] != 0;
    list[count] = static_cast<uint8_t>(j);
    count += any;
  }
  return count;
}

// dots[t * kChunk + i] = row list[i] of the chunk times token t of a tile.
template <class Rows, size_t kTokens>
HWY_INLINE void ListedProducts(const Chunk& chunk, size_t token, const uint8_t* list, size_t count,
                               const Projection& projection, float* dots) {
  const size_t width = projection.range.count;
  typename Rows::Row rows[kChunk];
  for (size_t i = 0; i < count; ++i) rows[i] = Rows::RowOf(projection.matrix, width, chunk.first + list[i]);
  typename Rows::Input xs[kTokens];
  for (size_t t = 0; t < kTokens; ++t)
    xs[t] = InputOf<Rows>(chunk.job, chunk.block, token + t, projection);
  Rows::template Dot<kTokens>(rows, count, xs, width, dots, kChunk);
  for (size_t t = 0; projection.uppers != nullptr && t < kTokens; ++t) {
    const float* uppers = UppersOf(chunk.job, projection, token + t) + chunk.first;
    for (size_t i = 0; i < count; ++i) dots[t * kChunk + i] = WithUpper(uppers[list[i]], dots[t * kChunk + i]);
  }
}

// Coefficients of listed neurons are multiplied by act(gate).
template <class Rows, size_t kTokens>
HWY_INLINE void ListedGates(const Chunk& chunk, size_t token, const uint8_t* list, size_t count) {
  const Floats d;
  const GatedFfn& ffn = chunk.job.ffn;
  float dots[kTokens * kChunk];
  ListedProducts<Rows, kTokens>(chunk, token, list, count, GateOf(chunk.job), dots);
  for (size_t t = 0; t < kTokens; ++t) {
    // Whole vectors.
    float acts[kChunk] = {};
    for (size_t i = 0; i < count; ++i)
      acts[i] = dots[t * kChunk + i] + (ffn.gate_bias == nullptr ? 0 : ffn.gate_bias[chunk.first + list[i]]);
    for (size_t i = 0; i < count; i += hn::Lanes(d))
      hn::StoreU(Activate(d, ffn.activation, hn::LoadU(d, acts + i)), d, acts + i);
    float* coefficients = chunk.Coefficients(token + t);
    for (size_t i = 0; i < count; ++i)
      if (coefficients[list[i]] != 0) coefficients[list[i]] *= acts[i];
  }
}

// Coefficients of listed neurons are multiplied by up x.
template <class Rows, size_t kTokens>
HWY_INLINE void ListedUps(const Chunk& chunk, size_t token, const uint8_t* list, size_t count) {
  float dots[kTokens * kChunk];
  ListedProducts<Rows, kTokens>(chunk, token, list, count, UpOf(chunk.job), dots);
  for (size_t t = 0; t < kTokens; ++t) {
    float* coefficients = chunk.Coefficients(token + t);
    for (size_t i = 0; i < count; ++i) {
      // A token's zeros stay, whatever the product is.
      if (coefficients[list[i]] != 0)
        coefficients[list[i]] *= UpFactor(chunk.job.ffn, chunk.first + list[i], dots[t * kChunk + i]);
    }
  }
}

// What listed neurons still lack of act(gate) * up.
template <class Rows, size_t kTokens>
HWY_INLINE void FinishListed(const Chunk& chunk, size_t token, const uint8_t* list, size_t count) {
  if (chunk.job.gate_rows) ListedGates<Rows, kTokens>(chunk, token, list, count);
  if (chunk.job.up_rows) ListedUps<Rows, kTokens>(chunk, token, list, count);
}

// Chooses a chunk's neurons, and computes what these lack.
template <class Rows>
void ChooseStep(const Chunk& chunk) {
  const GatedFfnJob& job = chunk.job;
  for (size_t token = 0; token < chunk.block.count; ++token) ChooseNeurons(chunk, token);
  ForTokenTiles<Rows>(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    if constexpr (kTokens > 1) {
      size_t wanted = 0;
      for (size_t t = 0; t < kTokens; ++t) wanted += job.ChunkCount(token + t, chunk.index);
      uint8_t* list = job.TileList(token / kTokens) + chunk.first;
      const size_t count = ListUnion<kTokens>(chunk, token, list);
      // A row loaded for a tile costs about half of what it does token by token (docs/native.md).
      const bool together = count * kTokens <= 2 * wanted;
      job.TileCount(token / kTokens, chunk.index) = together ? static_cast<uint8_t>(count) : kTokenByToken;
      if (together) return FinishListed<Rows, kTokens>(chunk, token, list, count);
    }
    for (size_t t = 0; t < kTokens; ++t)
      FinishListed<Rows, 1>(chunk, token + t, chunk.List(token + t), job.ChunkCount(token + t, chunk.index));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
