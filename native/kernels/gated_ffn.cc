#include "kernels/gated_ffn.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gated_ffn.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/gated_ffn_job.h"
#include "kernels/rows-inl.h"
#include "kernels/statistics-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// Rows asked for together at one token; enough accumulators to hide the latency of an addition.
constexpr size_t kRowGroup = 8;

// rows[i + r] for r < kRowGroup, the last one repeated past the end: what to prefetch.
HWY_INLINE void FollowingRows(const float* const* rows, size_t count, size_t i, const float** next) {
  for (size_t r = 0; r < kRowGroup; ++r) next[r] = rows[std::min(i + r, count - 1)];
}

// dots[i * kTokens + t] = dot(rows[i], xs[t]) for i < count.
template <size_t kTokens>
HWY_INLINE void DotRows(const float* const* rows, size_t count, const float* const* xs, size_t n, float* dots) {
  constexpr size_t kGroup = kTokens == 1 ? kRowGroup : 4;
  const float* next[kRowGroup];
  size_t i = 0;
  for (; i + kGroup <= count; i += kGroup) {
    FollowingRows(rows, count, i + kGroup, next);
    DotTile<kGroup, kTokens>(rows + i, xs, n, next, dots + i * kTokens);
  }
  if (kGroup == 8 && i + 4 <= count) {
    DotTile<4, kTokens>(rows + i, xs, n, nullptr, dots + i * kTokens);
    i += 4;
  }
  if (i + 2 <= count) {
    DotTile<2, kTokens>(rows + i, xs, n, nullptr, dots + i * kTokens);
    i += 2;
  }
  if (i < count) DotTile<1, kTokens>(rows + i, xs, n, nullptr, dots + i * kTokens);
}

// Calls product(token, count of tokens) for tiles of kTokenTile tokens, then for single ones.
template <class Product>
HWY_INLINE void ForTokenTiles(const TokenBlock& block, Product product) {
  size_t t = 0;
  for (; t + kTokenTile <= block.count; t += kTokenTile) product(t, std::integral_constant<size_t, kTokenTile>());
  for (; t < block.count; ++t) product(t, std::integral_constant<size_t, 1>());
}

template <size_t kTokens>
HWY_INLINE void InputsOf(const Chunk& chunk, size_t token, const float** xs) {
  for (size_t t = 0; t < kTokens; ++t) xs[t] = chunk.job.Input(chunk.block.first + token + t);
}

void GateProducts(const Chunk& chunk) {
  const size_t hidden = chunk.job.ffn.hidden;
  const float* rows[kChunk];
  for (size_t j = 0; j < chunk.size; ++j) rows[j] = chunk.job.ffn.gate + (chunk.first + j) * hidden;
  ForTokenTiles(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    const float* xs[kTokens];
    InputsOf<kTokens>(chunk, token, xs);
    float dots[kChunk * kTokens];
    DotRows<kTokens>(rows, chunk.size, xs, hidden, dots);
    for (size_t t = 0; t < kTokens; ++t) {
      float* gate = chunk.Coefficients(token + t);
      for (size_t j = 0; j < chunk.size; ++j) gate[j] = dots[j * kTokens + t];
    }
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

// After this, coefficients hold the gate for selector statistical and act(gate) for all others, and what the selector
// asks of all neurons is summed over the chunk.
void GateStep(const Chunk& chunk) {
  const Floats d;
  const GatedFfn& ffn = chunk.job.ffn;
  GateProducts(chunk);
  for (size_t token = 0; token < chunk.block.count; ++token) {
    float* values = chunk.Coefficients(token);
    if (ffn.gate_bias != nullptr)
      MapChunk(chunk, values, [&](FloatVector gate, size_t j) HWY_ATTR {
        return hn::Add(gate, LoadPerNeuron(chunk, ffn.gate_bias, j));
      });
    if (!chunk.job.statistical)
      MapChunk(chunk, values, [&](FloatVector gate, size_t) HWY_ATTR { return Activate(d, ffn.activation, gate); });
    if (!chunk.job.two_steps) continue;
    Moments& moments = chunk.job.ChunkMoments(token, chunk.index);
    if (chunk.job.statistical) {
      moments = MomentsOf(values, chunk.size);
    } else {
      const float scores = SumOf(values, chunk.size, [&](FloatVector act, size_t j) HWY_ATTR {
        return hn::Mul(hn::Abs(act), LoadPerNeuron(chunk, ffn.score_weights, j));
      });
      moments = {static_cast<double>(chunk.size), scores / static_cast<double>(chunk.size), 0};
    }
  }
}

// What a token's neurons are measured by, from the chunks' sums.
void StatisticsItem(const GatedFfnJob& job, size_t token) {
  Moments moments;
  for (size_t chunk = 0; chunk < job.chunks; ++chunk) moments.Merge(job.ChunkMoments(token, chunk));
  const float mean = static_cast<float>(moments.mean);
  job.cuts[token] = job.statistical ? Cut{mean, static_cast<float>(moments.Deviation()) * job.ffn.quantile}
                                    : Cut{0, mean * job.ffn.threshold};
}

// Turns gates into act(gate), 0 where a neuron is not chosen; returns how many are chosen.
size_t ChooseNeurons(const Chunk& chunk, size_t token) {
  const Floats d;
  const GatedFfn& ffn = chunk.job.ffn;
  float* values = chunk.Coefficients(token);
  if (chunk.job.choose_all) {
    if (chunk.job.statistical)
      MapChunk(chunk, values, [&](FloatVector gate, size_t) HWY_ATTR { return Activate(d, ffn.activation, gate); });
    return chunk.size;
  }
  size_t kept = 0;
  const Cut& cut = chunk.job.cuts[token];
  const FloatVector limit = hn::Set(d, chunk.job.two_steps ? cut.limit : ffn.threshold);
  const auto count = [&](auto below, size_t j) HWY_ATTR {
    kept += hn::CountTrue(d, hn::AndNot(below, hn::FirstN(d, chunk.size - j)));
  };
  // "Not below" and not "at least": what is not a number is chosen, so that it shows.
  if (chunk.job.statistical) {
    const FloatVector mean = hn::Set(d, cut.mean);
    const bool soft = ffn.selector == Selector::kStatisticalSoft;
    MapChunk(chunk, values, [&](FloatVector gate, size_t j) HWY_ATTR {
      const FloatVector centred = hn::Sub(gate, mean);
      const auto below = hn::Lt(centred, limit);
      count(below, j);
      const FloatVector picked = soft ? hn::Sub(centred, limit) : gate;
      return hn::IfThenZeroElse(below, Activate(d, ffn.activation, picked));
    });
  } else {
    MapChunk(chunk, values, [&](FloatVector act, size_t j) HWY_ATTR {
      const auto below = hn::Lt(hn::Mul(hn::Abs(act), LoadPerNeuron(chunk, ffn.score_weights, j)), limit);
      count(below, j);
      return hn::IfThenZeroElse(below, act);
    });
  }
  return kept;
}

// Neurons whose coefficient is not 0; the others add nothing, whether they are chosen or not.
size_t ListNeurons(const Chunk& chunk, size_t token) {
  const float* values = chunk.Coefficients(token);
  uint8_t* list = chunk.List(token);
  size_t count = 0;
  for (size_t j = 0; j < chunk.size; ++j) {
    list[count] = static_cast<uint8_t>(j);
    count += values[j] != 0;
  }
  return count;
}

// Neurons listed by any token of a tile.
size_t ListUnion(const Chunk& chunk, size_t token, uint8_t* list) {
  size_t count = 0;
  for (size_t j = 0; j < chunk.size; ++j) {
    bool any = false;
    for (size_t t = 0; t < kTokenTile; ++t) any |= chunk.Coefficients(token + t)[j] != 0;
    list[count] = static_cast<uint8_t>(j);
    count += any;
  }
  return count;
}

// Coefficients of listed neurons are multiplied by up x.
template <size_t kTokens>
HWY_INLINE void UpProducts(const Chunk& chunk, size_t token, const uint8_t* list, size_t count) {
  const GatedFfn& ffn = chunk.job.ffn;
  const float* rows[kChunk];
  for (size_t i = 0; i < count; ++i) rows[i] = ffn.up + (chunk.first + list[i]) * ffn.hidden;
  const float* xs[kTokens];
  InputsOf<kTokens>(chunk, token, xs);
  float dots[kChunk * kTokens];
  DotRows<kTokens>(rows, count, xs, ffn.hidden, dots);
  for (size_t t = 0; t < kTokens; ++t) {
    float* coefficients = chunk.Coefficients(token + t);
    for (size_t i = 0; i < count; ++i) {
      const float bias = ffn.up_bias == nullptr ? 0 : ffn.up_bias[chunk.first + list[i]];
      // A token's zeros stay, whatever the product is.
      if (coefficients[list[i]] != 0) coefficients[list[i]] *= dots[i * kTokens + t] + bias;
    }
  }
}

// Chooses neurons and computes what of `up` they need.
void ChooseStep(const Chunk& chunk) {
  const GatedFfnJob& job = chunk.job;
  for (size_t token = 0; token < chunk.block.count; ++token) {
    job.ChunkKept(token, chunk.index) = static_cast<uint8_t>(ChooseNeurons(chunk, token));
    job.ChunkCount(token, chunk.index) = static_cast<uint8_t>(ListNeurons(chunk, token));
  }
  ForTokenTiles(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    if constexpr (kTokens > 1) {
      size_t wanted = 0;
      for (size_t t = 0; t < kTokens; ++t) wanted += job.ChunkCount(token + t, chunk.index);
      uint8_t* list = job.TileList(token / kTokenTile) + chunk.first;
      const size_t count = ListUnion(chunk, token, list);
      // A row loaded for a tile costs about half of what it does token by token (docs/native.md).
      const bool together = count * kTokens <= 2 * wanted;
      job.TileCount(token / kTokenTile, chunk.index) = together ? static_cast<uint8_t>(count) : kTokenByToken;
      if (together) return UpProducts<kTokens>(chunk, token, list, count);
    }
    for (size_t t = 0; t < kTokens; ++t)
      UpProducts<1>(chunk, token + t, chunk.List(token + t), job.ChunkCount(token + t, chunk.index));
  });
}

// Rows that are added to one token's columns, in groups and in order, with the next group brought in meanwhile.
class RowAdder {
 public:
  RowAdder(float* y, size_t columns) : y_(y), columns_(columns) {}

  void Add(const float* row, float coefficient) {
    rows_[count_] = row;
    coefficients_[count_] = coefficient;
    if (++count_ < 2 * kRowGroup) return;
    AddRows<kRowGroup>(rows_, coefficients_, columns_, rows_ + kRowGroup, y_);
    count_ = kRowGroup;
    std::copy_n(rows_ + kRowGroup, kRowGroup, rows_);
    std::copy_n(coefficients_ + kRowGroup, kRowGroup, coefficients_);
  }

  void Flush() {
    size_t i = 0;
    if (count_ >= kRowGroup) i += Part<kRowGroup>(i);
    if (count_ - i >= 4) i += Part<4>(i);
    if (count_ - i >= 4) i += Part<4>(i);
    if (count_ - i >= 2) i += Part<2>(i);
    if (count_ - i >= 1) Part<1>(i);
    count_ = 0;
  }

 private:
  template <size_t kRows>
  size_t Part(size_t i) {
    AddRows<kRows>(rows_ + i, coefficients_ + i, columns_, nullptr, y_);
    return kRows;
  }

  float* y_;
  size_t columns_;
  size_t count_ = 0;
  const float* rows_[2 * kRowGroup];
  float coefficients_[2 * kRowGroup];
};

// Adds a tile's union of rows to its tokens: tiles of vectors stay in registers while all rows pass.
void AddUnion(const Chunk& chunk, size_t token, const uint8_t* list, size_t count, size_t column, size_t columns) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  const size_t hidden = chunk.job.ffn.hidden;
  const float* down = chunk.job.ffn.down + chunk.first * hidden + column;
  float* ys[kTokenTile];
  const float* coefficients[kTokenTile];
  for (size_t t = 0; t < kTokenTile; ++t) {
    ys[t] = chunk.job.Output(chunk.block.first + token + t) + column;
    coefficients[t] = chunk.Coefficients(token + t);
  }
  constexpr size_t kVectors = 4;
  const auto add = [&](auto vectors, size_t start, size_t last) HWY_ATTR {
    constexpr size_t kCount = vectors;
    FloatVector sums[kTokenTile][kCount];
    const auto load = [&](const float* from, size_t v) HWY_ATTR {
      return last == 0 ? hn::LoadU(d, from + v * lanes) : hn::LoadN(d, from, last);
    };
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokenTile; ++t) {
#pragma GCC unroll 4
      for (size_t v = 0; v < kCount; ++v) sums[t][v] = load(ys[t] + start, v);
    }
    for (size_t i = 0; i < count; ++i) {
      const float* row = down + list[i] * hidden + start;
      FloatVector part[kCount];
#pragma GCC unroll 4
      for (size_t v = 0; v < kCount; ++v) part[v] = load(row, v);
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokenTile; ++t) {
        const FloatVector factor = hn::Set(d, coefficients[t][list[i]]);
#pragma GCC unroll 4
        for (size_t v = 0; v < kCount; ++v) sums[t][v] = hn::MulAdd(factor, part[v], sums[t][v]);
      }
    }
#pragma GCC unroll 4
    for (size_t t = 0; t < kTokenTile; ++t) {
      if (last != 0) {
        hn::StoreN(sums[t][0], d, ys[t] + start, last);
        continue;
      }
#pragma GCC unroll 4
      for (size_t v = 0; v < kCount; ++v) hn::StoreU(sums[t][v], d, ys[t] + start + v * lanes);
    }
  };
  size_t i = 0;
  for (; i + kVectors * lanes <= columns; i += kVectors * lanes) add(std::integral_constant<size_t, kVectors>(), i, 0);
  for (; i + lanes <= columns; i += lanes) add(std::integral_constant<size_t, 1>(), i, 0);
  if (i < columns) add(std::integral_constant<size_t, 1>(), i, columns - i);
}

void StartColumns(const GatedFfnJob& job, float* y, size_t column, size_t columns) {
  if (job.ffn.down_bias == nullptr) {
    std::fill_n(y, columns, 0.0f);
  } else {
    std::copy_n(job.ffn.down_bias + column, columns, y);
  }
}

// Some columns of y for one token, over all its neurons.
void DownToken(const GatedFfnJob& job, const TokenBlock& block, size_t column, size_t columns) {
  const size_t hidden = job.ffn.hidden;
  RowAdder adder(job.Output(block.first) + column, columns);
  for (size_t c = 0; c < job.chunks; ++c) {
    const Chunk chunk{job, block, c};
    const float* coefficients = chunk.Coefficients(0);
    const uint8_t* list = chunk.List(0);
    const size_t count = job.ChunkCount(0, c);
    for (size_t i = 0; i < count; ++i)
      adder.Add(job.ffn.down + (chunk.first + list[i]) * hidden + column, coefficients[list[i]]);
  }
  adder.Flush();
}

// The same for several tokens: a chunk's rows stay in the cache while all tokens pass.
void DownTokens(const Chunk& chunk, size_t column, size_t columns) {
  const GatedFfnJob& job = chunk.job;
  const size_t hidden = job.ffn.hidden;
  ForTokenTiles(chunk.block, [&](size_t token, auto tile) HWY_ATTR {
    constexpr size_t kTokens = tile;
    if constexpr (kTokens > 1) {
      const size_t count = job.TileCount(token / kTokenTile, chunk.index);
      const uint8_t* list = job.TileList(token / kTokenTile) + chunk.first;
      if (count != kTokenByToken) return AddUnion(chunk, token, list, count, column, columns);
    }
    for (size_t t = token; t < token + kTokens; ++t) {
      RowAdder adder(job.Output(chunk.block.first + t) + column, columns);
      const uint8_t* list = chunk.List(t);
      for (size_t i = 0; i < job.ChunkCount(t, chunk.index); ++i)
        adder.Add(job.ffn.down + (chunk.first + list[i]) * hidden + column, chunk.Coefficients(t)[list[i]]);
      adder.Flush();
    }
  });
}

void DownItem(const GatedFfnJob& job, const TokenBlock& block, size_t item) {
  const size_t column = item * job.columns;
  const size_t columns = std::min(job.columns, job.ffn.hidden - column);
  for (size_t t = 0; t < block.count; ++t) {
    StartColumns(job, job.Output(block.first + t) + column, column, columns);
    if (item == 0 && job.tokens.kept != nullptr) {
      int32_t kept = 0;
      for (size_t c = 0; c < job.chunks; ++c) kept += job.ChunkKept(t, c);
      job.tokens.kept[job.TokenOf(block.first + t)] = kept;
    }
  }
  if (block.count == 1) return DownToken(job, block, column, columns);
  for (size_t c = 0; c < job.chunks; ++c) DownTokens(Chunk{job, block, c}, column, columns);
}

// Post-norm and saturation, which need a token's whole y.
void FinishItem(const GatedFfnJob& job, size_t token) {
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

void RunItem(const GatedFfnJob& job, size_t item) {
  const GatedFfnJob::Place place = job.PlaceOf(item);
  switch (place.phase) {
    case GatedFfnPhase::kGate: {
      const Chunk chunk{job, place.block, place.index};
      GateStep(chunk);
      if (!job.two_steps) ChooseStep(chunk);
      return;
    }
    case GatedFfnPhase::kStatistics:
      return StatisticsItem(job, place.index);
    case GatedFfnPhase::kChoose:
      return ChooseStep(Chunk{job, place.block, place.index});
    case GatedFfnPhase::kDown:
      return DownItem(job, place.block, place.index);
    case GatedFfnPhase::kFinish:
      return FinishItem(job, place.block.first + place.index);
  }
}

void WorkOnGatedFfn(const GatedFfnJob& job) {
  for (size_t item; (item = job.items.Claim()) < job.items.count();) {
    job.items.WaitFor(job.PlaceOf(item).waits_for);
    RunItem(job, item);
    job.items.Finish();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {

HWY_EXPORT(WorkOnGatedFfn);

// Inactive tokens get zeros; returns how many are active, and which in `active`.
size_t SetInactive(const GatedFfn& ffn, const GatedFfnTokens& tokens, uint32_t* active) {
  size_t count = 0;
  for (size_t token = 0; token < tokens.count; ++token) {
    if (tokens.active == nullptr || tokens.active[token]) {
      active[count++] = static_cast<uint32_t>(token);
      continue;
    }
    std::fill_n(tokens.y + token * ffn.hidden, ffn.hidden, 0.0f);
    if (tokens.saturation != nullptr) tokens.saturation[token] = 0;
    if (tokens.kept != nullptr) tokens.kept[token] = 0;
  }
  return count;
}

}  // namespace

void RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, Scratch& scratch, const Parallel& parallel) {
  if (tokens.count == 0) return;
  ScratchLayout sizes(nullptr);
  GatedFfnArrays(ffn, tokens.count, sizes);
  ScratchLayout places(scratch.AtLeast(sizes.bytes()));
  const GatedFfnArrays arrays(ffn, tokens.count, places);
  const size_t active = SetInactive(ffn, tokens, arrays.active);
  if (active == 0) return;
  GatedFfnJob job(ffn, tokens, arrays, active, parallel.workers);
  parallel.run(
      parallel.state, std::min(parallel.workers, job.items.count()),
      [](void* argument, size_t) {
        HWY_DYNAMIC_DISPATCH(WorkOnGatedFfn)(*static_cast<GatedFfnJob*>(argument));
      },
      &job);
}

}  // namespace lacuna
#endif  // HWY_ONCE
