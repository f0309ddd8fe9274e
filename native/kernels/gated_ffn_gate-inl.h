// GatedFFN's phases up to the gate: inputs as blocks take them, products of all neurons, and what a choice needs of them.
#if defined(LACUNA_KERNELS_GATED_FFN_GATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_GATED_FFN_GATE_INL_H_
#undef LACUNA_KERNELS_GATED_FFN_GATE_INL_H_
#else
#define LACUNA_KERNELS_GATED_FFN_GATE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/blocks-inl.h"
#include "kernels/gated_ffn_job.h"
#include "kernels/norm-inl.h"
#include "kernels/rows-inl.h"
#include "kernels/statistics-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A predictor's gate and up. Whatever the storage of the others is, these are int4, so their products are compiled once, in
// gated_ffn_int4.cc.
using PredictorRows = BlockRows<Storage::kInt4>;
extern template void PredictorRows::Dot<1>(const Row*, size_t, const Input*, size_t, float*, size_t);
extern template void PredictorRows::Dot<PredictorRows::kTokenTile>(const Row*, size_t, const Input*, size_t, float*, size_t);

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

// A matrix, the part of each token's input that is multiplied with it, and that part in the form that blocks take.
struct Projection {
  const Matrix& matrix;
  const Range range;
  const std::optional<CodedTokens>& coded;
  // Of measure nested, [block, chunks * kChunk] products with the upper plane: kept when they are made, and added to those
  // with the lower. Else null.
  float* uppers;
};

inline Projection GateOf(const GatedFfnJob& job) {
  return {job.ffn.gate, job.ffn.gate_inputs, job.arrays.gate_input, job.arrays.upper_gate};
}
inline Projection UpOf(const GatedFfnJob& job) {
  // Up reads the gate's input when both are of the same entries.
  return {job.ffn.up, job.ffn.up_inputs, job.split ? job.arrays.up_input : job.arrays.gate_input, job.arrays.upper_up};
}
inline Projection PredictorGateOf(const GatedFfnJob& job) {
  return {job.ffn.predictor_gate, job.ffn.gate_inputs, job.arrays.predictor_gate_input, job.arrays.upper_gate};
}
inline Projection PredictorUpOf(const GatedFfnJob& job) {
  return {job.ffn.predictor_up, job.ffn.up_inputs,
          job.split ? job.arrays.predictor_up_input : job.arrays.predictor_gate_input, job.arrays.upper_up};
}

// What of a token a matrix is multiplied with.
template <class Rows>
HWY_INLINE typename Rows::Input InputOf(const GatedFfnJob& job, const TokenBlock& block, size_t token,
                                        const Projection& projection) {
  if constexpr (std::is_same_v<typename Rows::Input, CodedInput>) {
    return projection.coded->At(token);
  } else {
    return job.Input(block, token) + projection.range.first;
  }
}

// Entries as gate and up need them.
template <class Rows>
void PrepareItem(const GatedFfnJob& job, const TokenBlock& block, size_t token) {
  if (job.arrays.normed != nullptr)
    NormaliseStream(job.ffn.norm, job.tokens.stream, job.TokenOf(block.first + token), job.ffn.hidden,
                    job.arrays.normed + token * job.ffn.hidden);
  const auto code = [&]<class Of>(const Projection& projection, std::type_identity<Of>) {
    if constexpr (std::is_same_v<typename Of::Input, CodedInput>) {
      const float* x = job.Input(block, token) + projection.range.first;
      Of::Products::Code(x, projection.range.count, *projection.coded, token);
    }
  };
  code(GateOf(job), std::type_identity<Rows>());
  if (job.split) code(UpOf(job), std::type_identity<Rows>());
  if (!job.predicted || ProjectionStorage(job.ffn) == Storage::kInt4) return;
  code(PredictorGateOf(job), std::type_identity<PredictorRows>());
  if (job.split) code(PredictorUpOf(job), std::type_identity<PredictorRows>());
}

// A token's products with upper planes, by neuron.
inline float* UppersOf(const GatedFfnJob& job, const Projection& projection, size_t token) {
  return projection.uppers + token * job.chunks * kChunk;
}

// A product with a lower plane becomes one with both.
HWY_INLINE float WithUpper(float upper, float lower) { return upper + lower / 16; }

// Calls use(token, j, dot) for every token of the block and every neuron of the chunk, and keeps products with upper planes.
template <class Rows, class Use>
HWY_INLINE void AllProducts(const Chunk& chunk, const Projection& projection, Use use) {
  typename Rows::Row rows[kChunk];
  for (size_t j = 0; j < chunk.size; ++j)
    rows[j] = Rows::RowOf(projection.matrix, projection.range.count, chunk.first + j);
  ForTokenTiles<Rows>(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    typename Rows::Input xs[kTokens];
    for (size_t t = 0; t < kTokens; ++t)
      xs[t] = InputOf<Rows>(chunk.job, chunk.block, token + t, projection);
    float dots[kTokens * kChunk];
    Rows::template Dot<kTokens>(rows, chunk.size, xs, projection.range.count, dots, kChunk);
    for (size_t t = 0; projection.uppers != nullptr && t < kTokens; ++t)
      std::copy_n(dots + t * kChunk, chunk.size, UppersOf(chunk.job, projection, token + t) + chunk.first);
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t j = 0; j < chunk.size; ++j) use(token + t, j, dots[t * kChunk + j]);
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

// Coefficients become act(gate), or the gate itself where deviation cuts it.
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
  AllProducts<Rows>(chunk, up, [&](size_t token, size_t j, float dot) {
    chunk.Coefficients(token)[j] *= UpFactor(chunk.job.ffn, chunk.first + j, dot);
  });
}

// Vectors of what a scored token's neurons are measured by.
HWY_INLINE FloatVector ScoreOf(const Chunk& chunk, FloatVector coefficient, size_t j) {
  return hn::Mul(hn::Abs(coefficient), LoadPerNeuron(chunk, chunk.job.ffn.score_weights, j));
}

// After this, coefficients hold what neurons are chosen by: act(gate), times up where all of that is read, the same of a
// predictor, or for cut deviation the gate; and what the cut asks of all neurons is summed over the chunk.
template <class Rows>
void GateStep(const Chunk& chunk) {
  const GatedFfnJob& job = chunk.job;
  if (job.predicted) {
    Activations<PredictorRows>(chunk, PredictorGateOf(job));
    MultiplyByUp<PredictorRows>(chunk, PredictorUpOf(job));
  } else {
    Activations<Rows>(chunk, GateOf(job));
    if (!job.up_rows) MultiplyByUp<Rows>(chunk, UpOf(job));
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
  job.cuts[token] = job.statistical ? TokenCut{mean, static_cast<float>(moments.Deviation()) * job.ffn.quantile}
                                    : TokenCut{0, mean * job.ffn.threshold};
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
