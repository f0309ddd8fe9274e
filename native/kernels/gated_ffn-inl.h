// GatedFFN, item by item, for one storage of weights: WorkOnGatedFfn<Rows>, with Rows from rows-inl.h or blocks-inl.h.
#if defined(LACUNA_KERNELS_GATED_FFN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_GATED_FFN_INL_H_
#undef LACUNA_KERNELS_GATED_FFN_INL_H_
#else
#define LACUNA_KERNELS_GATED_FFN_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/blocks-inl.h"
#include "kernels/gated_ffn_job.h"
#include "kernels/rows-inl.h"
#include "kernels/statistics-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A predictor's gate and up.
using PredictorRows = BlockRows<Storage::kInt4>;

// One chunk of neurons for the tokens of one block.
struct Chunk {
  const GatedFfnJob& job;
  const TokenBlock block;
  const size_t index;
  const size_t first = index * kChunk;
  const size_t size = std::min(kChunk, job.ffn.neurons - first);

  float* Coefficients(size_t token) const { return job.Coefficients(token) + first; }
  uint8_t* List(size_t token) const { return job.List(token) + first; }
};

// Calls product(token, count of tokens) for tiles of Rows::kTokenTile tokens, then for single ones.
template <class Rows, class Product>
HWY_INLINE void ForTokenTiles(const TokenBlock& block, Product product) {
  constexpr size_t kTile = Rows::kTokenTile;
  size_t t = 0;
  if constexpr (kTile > 1)
    for (; t + kTile <= block.count; t += kTile) product(t, std::integral_constant<size_t, kTile>());
  for (; t < block.count; ++t) product(t, std::integral_constant<size_t, 1>());
}

// What of a token the gate, or up, is multiplied with.
template <class Rows>
HWY_INLINE typename Rows::Input InputOf(const GatedFfnJob& job, const TokenBlock& block, size_t token, const Range& range,
                                        const QuantisedInput* quantised) {
  if constexpr (std::is_same_v<typename Rows::Input, QuantisedInput>) {
    return quantised[token];
  } else {
    return job.Input(block.first + token) + range.first;
  }
}

template <class Rows>
void QuantiseEntries(const float* x, const Range& range, const QuantisedPlace& place) {
  std::fill_n(place.codes, PaddedBlocks(range.count) * kBlock, static_cast<int8_t>(0));
  std::fill_n(place.scales, PaddedBlocks(range.count), 0.0f);
  std::fill_n(place.sums, PaddedBlocks(range.count), 0.0f);
  Rows::Quantise(x + range.first, range.count, place.codes, place.scales, place.sums);
}

// Entries as blocks need them; up reads the gate's when both are of the same entries.
template <class Rows>
void PrepareItem(const GatedFfnJob& job, const TokenBlock& block, size_t token) {
  const float* x = job.Input(block.first + token);
  const GatedFfnArrays& arrays = job.arrays;
  if constexpr (std::is_same_v<typename Rows::Input, QuantisedInput>) {
    QuantiseEntries<Rows>(x, job.ffn.gate_inputs, QuantisedPlace(arrays.gate_quantised[token]));
    if (job.split) QuantiseEntries<Rows>(x, job.ffn.up_inputs, QuantisedPlace(arrays.up_quantised[token]));
  }
  if (!job.predicted) return;
  QuantiseEntries<PredictorRows>(x, job.ffn.gate_inputs, QuantisedPlace(arrays.predictor_gate_quantised[token]));
  if (job.split)
    QuantiseEntries<PredictorRows>(x, job.ffn.up_inputs, QuantisedPlace(arrays.predictor_up_quantised[token]));
}

// A matrix that tokens are multiplied with, and what of them.
struct Projection {
  const Matrix& matrix;
  const Range range;
  const QuantisedInput* quantised;
};

inline Projection GateOf(const GatedFfnJob& job) {
  return {job.ffn.gate, job.ffn.gate_inputs, job.arrays.gate_quantised};
}
inline Projection UpOf(const GatedFfnJob& job) { return {job.ffn.up, job.ffn.up_inputs, job.UpQuantised()}; }
inline Projection PredictorGateOf(const GatedFfnJob& job) {
  return {job.ffn.predictor_gate, job.ffn.gate_inputs, job.arrays.predictor_gate_quantised};
}
inline Projection PredictorUpOf(const GatedFfnJob& job) {
  return {job.ffn.predictor_up, job.ffn.up_inputs, job.PredictorUpQuantised()};
}

// Calls use(token, j, dot) for every token of the block and every neuron of the chunk.
template <class Rows, class Use>
HWY_INLINE void AllProducts(const Chunk& chunk, const Projection& projection, Use use) {
  typename Rows::Row rows[kChunk];
  for (size_t j = 0; j < chunk.size; ++j)
    rows[j] = Rows::RowOf(projection.matrix, projection.range.count, chunk.first + j);
  ForTokenTiles<Rows>(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    typename Rows::Input xs[kTokens];
    for (size_t t = 0; t < kTokens; ++t)
      xs[t] = InputOf<Rows>(chunk.job, chunk.block, token + t, projection.range, projection.quantised);
    float dots[kChunk * kTokens];
    Rows::template Dot<kTokens>(rows, chunk.size, xs, projection.range.count, dots);
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t j = 0; j < chunk.size; ++j) use(token + t, j, dots[j * kTokens + t]);
  });
}

// values[j] = map(values[j], j) for a chunk's values, by vectors.
template <class Map>
HWY_INLINE void MapChunk(const Chunk& chunk, float* values, Map map) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  // Rows of coefficients are whole chunks long, so the last vector may run over.
  for (size_t j = 0; j < chunk.size; j += lanes) hn::StoreU(map(hn::LoadU(d, values + j), j), d, values + j);
}

// Vectors of a per-neuron input at neuron `first + j`, zero past the chunk.
HWY_INLINE FloatVector LoadPerNeuron(const Chunk& chunk, const float* values, size_t j) {
  const Floats d;
  const size_t left = chunk.size - j;
  const float* from = values + chunk.first + j;
  return left >= hn::Lanes(d) ? hn::LoadU(d, from) : hn::LoadN(d, from, left);
}

// Coefficients become act(gate), or the gate itself for selector statistical.
template <class Rows>
void Activations(const Chunk& chunk, const Projection& gate) {
  const Floats d;
  const GatedFfn& ffn = chunk.job.ffn;
  AllProducts<Rows>(chunk, gate, [&](size_t token, size_t j, float dot) { chunk.Coefficients(token)[j] = dot; });
  for (size_t token = 0; token < chunk.block.count; ++token) {
    float* values = chunk.Coefficients(token);
    if (ffn.gate_bias != nullptr)
      MapChunk(chunk, values, [&](FloatVector value, size_t j) HWY_ATTR {
        return hn::Add(value, LoadPerNeuron(chunk, ffn.gate_bias, j));
      });
    if (!chunk.job.statistical)
      MapChunk(chunk, values, [&](FloatVector value, size_t) HWY_ATTR { return Activate(d, ffn.activation, value); });
  }
}

// Coefficients of all neurons are multiplied by up x.
template <class Rows>
void MultiplyByUp(const Chunk& chunk, const Projection& up) {
  const float* bias = chunk.job.ffn.up_bias;
  AllProducts<Rows>(chunk, up, [&](size_t token, size_t j, float dot) {
    chunk.Coefficients(token)[j] *= dot + (bias == nullptr ? 0 : bias[chunk.first + j]);
  });
}

// Vectors of what a scored token's neurons are measured by.
HWY_INLINE FloatVector ScoreOf(const Chunk& chunk, FloatVector coefficient, size_t j) {
  return hn::Mul(hn::Abs(coefficient), LoadPerNeuron(chunk, chunk.job.ffn.score_weights, j));
}

// After this, coefficients hold what neurons are chosen by: the gate for selector statistical, act(gate) * up for product and
// predictor, act(gate) for all others; and what the selector asks of all neurons is summed over the chunk.
template <class Rows>
void GateStep(const Chunk& chunk) {
  const GatedFfnJob& job = chunk.job;
  if (job.predicted) {
    Activations<PredictorRows>(chunk, PredictorGateOf(job));
    MultiplyByUp<PredictorRows>(chunk, PredictorUpOf(job));
  } else {
    Activations<Rows>(chunk, GateOf(job));
    if (job.product) MultiplyByUp<Rows>(chunk, UpOf(job));
  }
  if (!job.two_steps) return;
  for (size_t token = 0; token < chunk.block.count; ++token) {
    const float* values = chunk.Coefficients(token);
    Moments& moments = job.ChunkMoments(token, chunk.index);
    if (job.statistical) {
      moments = MomentsOf(values, chunk.size);
    } else {
      const float scores =
          SumOf(values, chunk.size, [&](FloatVector value, size_t j) HWY_ATTR { return ScoreOf(chunk, value, j); });
      moments = {static_cast<double>(chunk.size), scores / static_cast<double>(chunk.size), 0};
    }
  }
}

// What a token's neurons are measured by, from the chunks' sums.
inline void StatisticsItem(const GatedFfnJob& job, size_t token) {
  Moments moments;
  for (size_t chunk = 0; chunk < job.chunks; ++chunk) moments.Merge(job.ChunkMoments(token, chunk));
  const float mean = static_cast<float>(moments.mean);
  job.cuts[token] = job.statistical ? Cut{mean, static_cast<float>(moments.Deviation()) * job.ffn.quantile}
                                    : Cut{0, mean * job.ffn.threshold};
}

// Lists the chunk's neurons that `below` does not leave out, and gives their values, packed in front; returns how many.
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
    hn::CompressBlendedStore(value, chosen, d, packed + count);
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

// What PackChosen found by a token's cut, as it is to be: gates of selector statistical as act(gate), a predictor's products
// as 1, all else as it is.
inline size_t PackByCut(const Chunk& chunk, size_t token, float* packed) {
  const Floats d;
  const GatedFfn& ffn = chunk.job.ffn;
  const Cut& cut = chunk.job.cuts[token];
  const FloatVector limit = hn::Set(d, chunk.job.two_steps ? cut.limit : ffn.threshold);
  // "Not below" and not "at least": what is not a number is chosen, so that it shows.
  if (!chunk.job.statistical) {
    const size_t kept = PackChosen(
        chunk, token, [&](FloatVector value, size_t j) HWY_ATTR { return hn::Lt(ScoreOf(chunk, value, j), limit); }, packed);
    if (chunk.job.predicted) std::fill_n(packed, kept, 1.0f);
    return kept;
  }
  const FloatVector mean = hn::Set(d, cut.mean);
  const size_t kept = PackChosen(
      chunk, token, [&](FloatVector gate, size_t) HWY_ATTR { return hn::Lt(hn::Sub(gate, mean), limit); }, packed);
  const bool soft = ffn.selector == Selector::kStatisticalSoft;
  MapPacked(packed, kept, [&](FloatVector gate) HWY_ATTR {
    return Activate(d, ffn.activation, soft ? hn::Sub(hn::Sub(gate, mean), limit) : gate);
  });
  return kept;
}

// All of the chunk, packed.
inline size_t PackAll(const Chunk& chunk, size_t token, float* packed) {
  const Floats d;
  std::copy_n(chunk.Coefficients(token), chunk.size, packed);
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

// Asks for listed rows. No hardware guesses where the next is, and all of them at once come faster than one by one.
template <class Rows>
HWY_INLINE void PrefetchListed(const Chunk& chunk, const uint8_t* list, size_t count, const Projection& projection) {
  if (2 * count >= chunk.size) return;
  const size_t width = projection.range.count;
  for (size_t i = 0; i < count; ++i)
    Rows::PrefetchRow(Rows::RowOf(projection.matrix, width, chunk.first + list[i]), width);
}

// dots[i * kTokens + t] = row list[i] of the chunk times token t of a tile.
template <class Rows, size_t kTokens>
HWY_INLINE void ListedProducts(const Chunk& chunk, size_t token, const uint8_t* list, size_t count,
                               const Projection& projection, float* dots) {
  const size_t width = projection.range.count;
  typename Rows::Row rows[kChunk];
  for (size_t i = 0; i < count; ++i) rows[i] = Rows::RowOf(projection.matrix, width, chunk.first + list[i]);
  typename Rows::Input xs[kTokens];
  for (size_t t = 0; t < kTokens; ++t)
    xs[t] = InputOf<Rows>(chunk.job, chunk.block, token + t, projection.range, projection.quantised);
  Rows::template Dot<kTokens>(rows, count, xs, width, dots);
}

// Coefficients of listed neurons, 1 where they are chosen, become act(gate).
template <class Rows, size_t kTokens>
HWY_INLINE void ListedGates(const Chunk& chunk, size_t token, const uint8_t* list, size_t count) {
  const Floats d;
  const GatedFfn& ffn = chunk.job.ffn;
  float dots[kChunk * kTokens];
  ListedProducts<Rows, kTokens>(chunk, token, list, count, GateOf(chunk.job), dots);
  for (size_t t = 0; t < kTokens; ++t) {
    // Whole vectors.
    float acts[kChunk] = {};
    for (size_t i = 0; i < count; ++i)
      acts[i] = dots[i * kTokens + t] + (ffn.gate_bias == nullptr ? 0 : ffn.gate_bias[chunk.first + list[i]]);
    for (size_t i = 0; i < count; i += hn::Lanes(d))
      hn::StoreU(Activate(d, ffn.activation, hn::LoadU(d, acts + i)), d, acts + i);
    float* coefficients = chunk.Coefficients(token + t);
    for (size_t i = 0; i < count; ++i)
      if (coefficients[list[i]] != 0) coefficients[list[i]] = acts[i];
  }
}

// Coefficients of listed neurons are multiplied by up x.
template <class Rows, size_t kTokens>
HWY_INLINE void ListedUps(const Chunk& chunk, size_t token, const uint8_t* list, size_t count) {
  const float* bias = chunk.job.ffn.up_bias;
  float dots[kChunk * kTokens];
  ListedProducts<Rows, kTokens>(chunk, token, list, count, UpOf(chunk.job), dots);
  for (size_t t = 0; t < kTokens; ++t) {
    float* coefficients = chunk.Coefficients(token + t);
    for (size_t i = 0; i < count; ++i) {
      // A token's zeros stay, whatever the product is.
      if (coefficients[list[i]] != 0)
        coefficients[list[i]] *= dots[i * kTokens + t] + (bias == nullptr ? 0 : bias[chunk.first + list[i]]);
    }
  }
}

// What listed neurons still lack of act(gate) * up.
template <class Rows, size_t kTokens>
HWY_INLINE void FinishListed(const Chunk& chunk, size_t token, const uint8_t* list, size_t count) {
  if (chunk.job.product) return;
  if (chunk.job.predicted) ListedGates<Rows, kTokens>(chunk, token, list, count);
  ListedUps<Rows, kTokens>(chunk, token, list, count);
}

// Chooses neurons, and asks for what FinishStep reads of them.
template <class Rows>
void ChooseStep(const Chunk& chunk) {
  const GatedFfnJob& job = chunk.job;
  for (size_t token = 0; token < chunk.block.count; ++token) {
    ChooseNeurons(chunk, token);
    if (job.product) continue;
    const uint8_t* list = chunk.List(token);
    const size_t count = job.ChunkCount(token, chunk.index);
    if (job.predicted) PrefetchListed<Rows>(chunk, list, count, GateOf(job));
    PrefetchListed<Rows>(chunk, list, count, UpOf(job));
  }
}

// Computes what chosen neurons lack.
template <class Rows>
void FinishStep(const Chunk& chunk) {
  const GatedFfnJob& job = chunk.job;
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

// Rows that are added to one token's columns, in groups and in order, with the next group brought in meanwhile.
template <class Rows>
class RowAdder {
 public:
  RowAdder(const GatedFfnJob& job, const TokenBlock& block, size_t token, size_t column, size_t columns)
      : y_(job.Output(block.first + token) + column), columns_(columns), zeros_(job.Zeros(token, column)) {}

  HWY_INLINE void Add(typename Rows::Row row, float coefficient) {
    rows_[count_] = row;
    coefficients_[count_] = coefficient;
    if (++count_ < 2 * kGroup) return;
    Rows::template AddRows<kGroup>(rows_, coefficients_, columns_, rows_ + kGroup, y_, zeros_);
    count_ = kGroup;
    std::copy_n(rows_ + kGroup, kGroup, rows_);
    std::copy_n(coefficients_ + kGroup, kGroup, coefficients_);
  }

  void Flush() {
    size_t i = 0;
    for (; i + kGroup <= count_; i += kGroup)
      Rows::template AddRows<kGroup>(rows_ + i, coefficients_ + i, columns_, nullptr, y_, zeros_);
    for (; i < count_; ++i) Rows::template AddRows<1>(rows_ + i, coefficients_ + i, columns_, nullptr, y_, zeros_);
    count_ = 0;
  }

 private:
  static constexpr size_t kGroup = 8;

  float* y_;
  size_t columns_;
  float* zeros_;
  size_t count_ = 0;
  typename Rows::Row rows_[2 * kGroup];
  float coefficients_[2 * kGroup];
};

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
    ys[t] = chunk.job.Output(chunk.block.first + token + t) + column;
    coefficients[t] = chunk.Coefficients(token + t);
  }
  typename Rows::Row rows[kChunk];
  for (size_t i = 0; i < count; ++i) rows[i] = DownRow<Rows>(chunk.job.ffn, chunk.first + list[i], column);
  Rows::AddRowsToTile(rows, list, count, coefficients, columns, ys);
}

inline void StartColumns(const GatedFfnJob& job, float* y, size_t column, size_t columns) {
  if (job.ffn.down_bias == nullptr) {
    std::fill_n(y, columns, 0.0f);
  } else {
    std::copy_n(job.ffn.down_bias + column, columns, y);
  }
}

// Adds a chunk's neurons to some columns of one token.
template <class Rows>
HWY_INLINE void AddChunk(const Chunk& chunk, size_t token, size_t column, RowAdder<Rows>& adder) {
  const float* coefficients = chunk.Coefficients(token);
  const uint8_t* list = chunk.List(token);
  const size_t count = chunk.job.ChunkCount(token, chunk.index);
  for (size_t i = 0; i < count; ++i)
    adder.Add(DownRow<Rows>(chunk.job.ffn, chunk.first + list[i], column), coefficients[list[i]]);
}

// Some columns of y for one token, over all its neurons.
template <class Rows>
void DownToken(const GatedFfnJob& job, const TokenBlock& block, size_t column, size_t columns) {
  RowAdder<Rows> adder(job, block, 0, column, columns);
  for (size_t c = 0; c < job.chunks; ++c) AddChunk<Rows>(Chunk{job, block, c}, 0, column, adder);
  adder.Flush();
}

// The same for several tokens: a chunk's rows stay in the cache while all tokens pass.
template <class Rows>
void DownTokens(const Chunk& chunk, size_t column, size_t columns) {
  const GatedFfnJob& job = chunk.job;
  ForTokenTiles<Rows>(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    if constexpr (kTokens > 1) {
      const size_t count = job.TileCount(token / kTokens, chunk.index);
      const uint8_t* list = job.TileList(token / kTokens) + chunk.first;
      if (count != kTokenByToken) return AddUnion<Rows, kTokens>(chunk, token, list, count, column, columns);
    }
    for (size_t t = token; t < token + kTokens; ++t) {
      RowAdder<Rows> adder(job, chunk.block, t, column, columns);
      AddChunk<Rows>(chunk, t, column, adder);
      adder.Flush();
    }
  });
}

template <class Rows>
void DownItem(const GatedFfnJob& job, const TokenBlock& block, size_t item) {
  const size_t column = item * job.columns;
  const size_t columns = std::min(job.columns, job.ffn.hidden - column);
  for (size_t t = 0; t < block.count; ++t) {
    StartColumns(job, job.Output(block.first + t) + column, column, columns);
    Rows::StartColumns(columns, job.Zeros(t, column));
    if (item == 0 && job.tokens.kept != nullptr) job.tokens.kept[job.TokenOf(block.first + t)] = job.Kept(t);
  }
  if (block.count == 1) {
    DownToken<Rows>(job, block, column, columns);
  } else {
    for (size_t c = 0; c < job.chunks; ++c) DownTokens<Rows>(Chunk{job, block, c}, column, columns);
  }
  for (size_t t = 0; t < block.count; ++t)
    Rows::FinishColumns(job.Output(block.first + t) + column, columns, job.Zeros(t, column));
}

// Post-norm and saturation, which need a token's whole y.
inline void FinishItem(const GatedFfnJob& job, size_t token) {
  const Floats d;
  const GatedFfn& ffn = job.ffn;
  const size_t n = ffn.hidden;
  const size_t lanes = hn::Lanes(d);
  float* y = job.Output(token);
  const auto square = [](FloatVector v, size_t) HWY_ATTR { return hn::Mul(v, v); };
  if (ffn.post_norm != nullptr) {
    const double mean_square = SumOf(y, n, square) / static_cast<double>(n);
    const FloatVector scale = hn::Set(d, static_cast<float>(1.0 / std::sqrt(mean_square + ffn.epsilon)));
    for (size_t i = 0; i < n; i += lanes) {
      const size_t count = std::min(lanes, n - i);
      const FloatVector normed = hn::Mul(hn::LoadN(d, y + i, count), scale);
      hn::StoreN(hn::Mul(normed, hn::LoadN(d, ffn.post_norm + i, count)), d, y + i, count);
    }
  }
  if (job.tokens.saturation == nullptr) return;
  const float* before = job.tokens.residual + job.TokenOf(token) * n;
  const auto after = [&](FloatVector h, size_t i) HWY_ATTR {
    return hn::Add(h, i + lanes <= n ? hn::LoadU(d, y + i) : hn::LoadN(d, y + i, n - i));
  };
  const double size = static_cast<double>(n);
  const double product = SumOf(before, n, [&](FloatVector h, size_t i) HWY_ATTR { return hn::Mul(h, after(h, i)); }) / size;
  const double before_square = SumOf(before, n, square) / size;
  const double after_square = SumOf(before, n, [&](FloatVector h, size_t i) HWY_ATTR { return square(after(h, i), i); }) / size;
  // As in the portable body: gives a zero vector saturation 0, and is far below the mean square of any residual stream.
  constexpr double kEpsilon = 1e-30;
  job.tokens.saturation[job.TokenOf(token)] =
      static_cast<float>(product / std::sqrt((before_square + kEpsilon) * (after_square + kEpsilon)));
}

// Chunks one after the other: while the first ones' rows are multiplied, the last ones' are on their way.
template <class Rows>
void ChooseItem(const GatedFfnJob& job, const TokenBlock& block, size_t item) {
  const size_t first = item * job.choose_chunks;
  const size_t end = std::min(first + job.choose_chunks, job.chunks);
  for (size_t chunk = first; chunk < end; ++chunk) ChooseStep<Rows>(Chunk{job, block, chunk});
  for (size_t chunk = first; chunk < end; ++chunk) FinishStep<Rows>(Chunk{job, block, chunk});
}

template <class Rows>
void RunItem(const GatedFfnJob& job, size_t item) {
  const GatedFfnJob::Place place = job.PlaceOf(item);
  switch (place.phase) {
    case GatedFfnPhase::kPrepare:
      return PrepareItem<Rows>(job, place.block, place.index);
    case GatedFfnPhase::kGate: {
      const Chunk chunk{job, place.block, place.index};
      GateStep<Rows>(chunk);
      if (job.two_steps) return;
      ChooseStep<Rows>(chunk);
      return FinishStep<Rows>(chunk);
    }
    case GatedFfnPhase::kStatistics:
      return StatisticsItem(job, place.index);
    case GatedFfnPhase::kChoose:
      return ChooseItem<Rows>(job, place.block, place.index);
    case GatedFfnPhase::kDown:
      return DownItem<Rows>(job, place.block, place.index);
    case GatedFfnPhase::kFinish:
      return FinishItem(job, place.block.first + place.index);
  }
}

template <class Rows>
void WorkOnGatedFfn(const GatedFfnJob& job) {
  for (size_t item; (item = job.items.Claim()) < job.items.count();) {
    job.items.WaitFor(job.PlaceOf(item).waits_for);
    RunItem<Rows>(job, item);
    job.items.Finish();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
