// One call of GatedFFN, cut into items: what they share, which item does what, and where intermediate values lie.
//
// Tokens are taken in blocks, so that scratch does not grow with a prompt. A block goes through phases; the items of a
// phase are chunks of neurons, tokens, or ranges of columns:
//
//     prepare      tokens    the stream normed, where there is a norm; inputs quantised, where weights or a predictor are in
//                            blocks
//     gate         chunks    gate products and activation, or what a predictor makes of them, and what a choice by products
//                            needs of `up`; also all of "choose" unless the choice needs all neurons
//     statistics   tokens    mean and deviation over all neurons
//     choose       chunks    chosen neurons are listed, what is missing of their gate and up products computed
//     down         columns   y, from chosen neurons' rows
//     finish       tokens    post-norm and saturation
//
// Rows of `down` are added segment by segment, a segment being some chunks, and y is the sum of the segments. A token that is
// alone in its block is chosen for and added segment by segment too, which reads whole rows and waits less:
//
//     gate         chunks    several an item, and only where the choice needs all neurons
//     choose       segments  several an item: all of "gate" where that was not done, all of "choose", and the segments' sums
//     down         columns   y, from the segments' sums
#ifndef LACUNA_KERNELS_GATED_FFN_JOB_H_
#define LACUNA_KERNELS_GATED_FFN_JOB_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/coded_input.h"
#include "kernels/gated_ffn.h"
#include "kernels/moments.h"
#include "kernels/phases.h"
#include "kernels/scratch.h"

namespace lacuna {

// Neurons an item: few enough to share work out evenly, and below 255 so that a byte numbers them.
constexpr size_t kChunk = 128;
// Floats of a row of `down` that are read in one go: a kilobyte.
constexpr size_t kLeastColumns = 256;
// Items of a phase, a worker, for a token that is alone in its block: a few, since each begins with rows that were not asked for
// and may end by asking for some that are another's.
constexpr size_t kItemsAWorker = 4;
// Segments at most: enough for many threads, and few sums to add up. They do not depend on how many there are, as sums do not.
constexpr size_t kMostSegments = 16;
// In place of the length of a tile's list.
constexpr uint8_t kTokenByToken = 255;

// Sums are written by whole blocks.
constexpr size_t PaddedColumns(size_t columns) { return DivideUp(columns, kBlock) * kBlock; }

constexpr size_t SegmentChunks(size_t neurons) { return DivideUp(DivideUp(neurons, kChunk), kMostSegments); }
constexpr size_t SegmentsOf(size_t neurons) { return DivideUp(DivideUp(neurons, kChunk), SegmentChunks(neurons)); }

// A token's measure of its neurons: they are below it where gate - mean < limit, or score < limit.
struct TokenCut {
  float mean = 0;
  float limit = 0;
};

struct GatedFfnArrays {
  // `tokens`: how many are active.
  GatedFfnArrays(const GatedFfn& ffn, size_t tokens, ScratchLayout& layout) {
    const size_t block = std::min(tokens, kTokenBlock);
    const size_t chunks = DivideUp(ffn.neurons, kChunk);
    active = layout.Array<uint32_t>(tokens);
    coefficients = layout.Array<float>(block, chunks, kChunk);
    moments = layout.Array<Moments>(block, chunks);
    cuts = layout.Array<TokenCut>(block);
    lists = layout.Array<uint8_t>(block, chunks, kChunk);
    counts = layout.Array<uint8_t>(block, chunks);
    kept = layout.Array<uint8_t>(block, chunks);
    tile_lists = layout.Array<uint8_t>(block, chunks, kChunk);
    tile_counts = layout.Array<uint8_t>(block, chunks);
    sums = layout.Array<float>(SumsOf(ffn, block), PaddedColumns(ffn.hidden));
    if (ffn.norm.weight != nullptr) normed = layout.Array<float>(block, ffn.hidden);
    if (IsNested(ffn.choice)) {
      upper_gate = layout.Array<float>(block, chunks, kChunk);
      upper_up = layout.Array<float>(block, chunks, kChunk);
    }
    if (IsBlocked(ffn.storage)) {
      gate_input.emplace(ProjectionStorage(ffn), ffn.gate_inputs.count, block, layout);
      up_input.emplace(ProjectionStorage(ffn), ffn.up_inputs.count, block, layout);
      zeros = layout.Array<float>(SumsOf(ffn, block), Blocks(ffn.hidden));
    }
    if (!IsPredicted(ffn.choice)) return;
    if (ProjectionStorage(ffn) == Storage::kInt4) {
      predictor_gate_input = gate_input;
      predictor_up_input = up_input;
    } else {
      predictor_gate_input.emplace(Storage::kInt4, ffn.gate_inputs.count, block, layout);
      predictor_up_input.emplace(Storage::kInt4, ffn.up_inputs.count, block, layout);
    }
  }

  // [tokens] indices of active tokens; all that follows is by position in a block of them.
  uint32_t* active;
  // [block, hidden] what gate and up are multiplied with, where there is a norm.
  float* normed = nullptr;
  // [block, chunks * kChunk] what neurons are chosen by, then act(gate) * up; 0 where a neuron is not chosen.
  float* coefficients;
  // [block, chunks]
  Moments* moments;
  // [block]
  TokenCut* cuts;
  // [block, chunks * kChunk] at each chunk's start the neurons of the chunk that count, and [block, chunks] how many.
  uint8_t* lists;
  uint8_t* counts;
  // [block, chunks] neurons chosen.
  uint8_t* kept;
  // The same lists for tiles of tokens, or kTokenByToken.
  uint8_t* tile_lists;
  uint8_t* tile_counts;
  // [block, chunks * kChunk] of measure nested, what the predictor's gate and up make of x.
  float* upper_gate = nullptr;
  float* upper_up = nullptr;
  // [block] what gate and up, and a predictor's, are multiplied with, where they are in blocks; the same where all are in int4.
  std::optional<CodedTokens> gate_input;
  std::optional<CodedTokens> up_input;
  std::optional<CodedTokens> predictor_gate_input;
  std::optional<CodedTokens> predictor_up_input;
  // [segments, padded hidden] of a token that is alone, or [block, padded hidden] of the segment that is added.
  float* sums;
  // The same for blocks: coefficient times scale.
  float* zeros = nullptr;

 private:
  static size_t SumsOf(const GatedFfn& ffn, size_t block) { return std::max(block, SegmentsOf(ffn.neurons)); }
};

struct GatedFfnJob;
void WorkOnFp32(const GatedFfnJob& job);
void WorkOnBf16(const GatedFfnJob& job);
void WorkOnFp16(const GatedFfnJob& job);
void WorkOnInt8(const GatedFfnJob& job);
void WorkOnInt6(const GatedFfnJob& job);
void WorkOnInt5(const GatedFfnJob& job);
void WorkOnInt4(const GatedFfnJob& job);
void WorkOnNested(const GatedFfnJob& job);

struct GatedFfnJob : PhasedJob {
  enum Phase { kPrepare, kGate, kStatistics, kChoose, kDown, kFinish, kPhases };

  // `active`: how many tokens are.
  GatedFfnJob(const GatedFfn& ffn_, const GatedFfnTokens& tokens_, size_t active, Scratch& scratch, size_t most_workers)
      : PhasedJob(active, kPhases,
                  active * ffn_.neurons * (ffn_.gate_inputs.count + ffn_.up_inputs.count + ffn_.hidden), most_workers),
        ffn(ffn_),
        tokens(tokens_),
        chunks(DivideUp(ffn.neurons, kChunk)),
        segment_chunks(SegmentChunks(ffn.neurons)),
        segments(SegmentsOf(ffn.neurons)),
        gate_chunks(std::max<size_t>(1, chunks / (kItemsAWorker * workers()))),
        item_segments(std::max<size_t>(1, segments / (kItemsAWorker * workers()))),
        columns(std::max(kLeastColumns, DivideUp(DivideUp(ffn.hidden, workers()), kBlock) * kBlock)),
        column_items(DivideUp(ffn.hidden, columns)),
        choose_all(!Chooses(ffn.choice) || tokens.choose_all),
        statistical(IsStatistical(ffn.choice)),
        anew(IsNested(ffn.choice) || (!choose_all && !FactsOf(ffn.choice).is_product)),
        gate_rows(anew || (!choose_all && FactsOf(ffn.choice).gate_rows)),
        up_rows(anew || choose_all || FactsOf(ffn.choice).up_rows),
        predicted(IsNested(ffn.choice) || (!choose_all && IsPredicted(ffn.choice))),
        two_steps(!choose_all && IsRelative(ffn.choice)),
        finish(ffn.post_norm.weight != nullptr || tokens.mask.saturation != nullptr),
        split(ffn.gate_inputs.first != ffn.up_inputs.first || ffn.gate_inputs.count != ffn.up_inputs.count),
        arrays(Place<GatedFfnArrays>(scratch, ffn, active)),
        cuts(arrays.cuts) {
    for (size_t token = 0, position = 0; position < active; ++token)
      if (tokens.mask.IsActive(token)) arrays.active[position++] = static_cast<uint32_t>(token);
    Number([this](size_t phase, const TokenBlock& block) { return Items(phase, block.count); });
  }

  size_t TokenOf(size_t position) const { return arrays.active[position]; }
  // What a token of a block is multiplied with.
  const float* Input(const TokenBlock& block, size_t t) const {
    if (arrays.normed != nullptr) return arrays.normed + t * ffn.hidden;
    return tokens.stream.x + TokenOf(block.first + t) * ffn.hidden;
  }
  float* Output(size_t position) const { return tokens.y + TokenOf(position) * ffn.hidden; }
  size_t FirstChunk(size_t segment) const { return std::min(segment * segment_chunks, chunks); }
  // Of a segment, or of a token of the block.
  float* Sums(size_t index) const { return arrays.sums + index * PaddedColumns(ffn.hidden); }
  float* Zeros(size_t index, size_t column) const {
    return arrays.zeros == nullptr ? nullptr : arrays.zeros + index * Blocks(ffn.hidden) + column / kBlock;
  }
  int32_t Kept(size_t t) const {
    int32_t kept = 0;
    for (size_t chunk = 0; chunk < chunks; ++chunk) kept += ChunkKept(t, chunk);
    return kept;
  }
  float* Coefficients(size_t t) const { return arrays.coefficients + t * chunks * kChunk; }
  uint8_t* List(size_t t) const { return arrays.lists + t * chunks * kChunk; }
  uint8_t* TileList(size_t tile) const { return arrays.tile_lists + tile * chunks * kChunk; }
  Moments& ChunkMoments(size_t t, size_t chunk) const { return arrays.moments[t * chunks + chunk]; }
  uint8_t& ChunkCount(size_t t, size_t chunk) const { return arrays.counts[t * chunks + chunk]; }
  uint8_t& ChunkKept(size_t t, size_t chunk) const { return arrays.kept[t * chunks + chunk]; }
  uint8_t& TileCount(size_t tile, size_t chunk) const { return arrays.tile_counts[tile * chunks + chunk]; }

  const GatedFfn& ffn;
  const GatedFfnTokens& tokens;
  const size_t chunks;
  // Chunks a segment, but for the last.
  const size_t segment_chunks;
  const size_t segments;
  // For a token that is alone in its block, chunks an item of the gate, and segments an item.
  const size_t gate_chunks;
  const size_t item_segments;
  const size_t columns;
  const size_t column_items;
  const bool choose_all;
  const bool statistical;
  // act(gate) * up of chosen neurons has nothing of what they were chosen by.
  const bool anew;
  // Rows of the matrix are read of chosen neurons, once they are chosen.
  const bool gate_rows;
  const bool up_rows;
  // Neurons are chosen by a predictor's act(gate) * up. What measure nested reads of rows presumes its predictor, also where all
  // are chosen.
  const bool predicted;
  // The choice needs a sum over all neurons first.
  const bool two_steps;
  const bool finish;
  // Gate and up read different entries of x.
  const bool split;
  const GatedFfnArrays arrays;
  TokenCut* const cuts;

 private:
  size_t Items(size_t phase, size_t block_tokens) const {
    switch (phase) {
      case kPrepare:
        return IsBlocked(ffn.storage) || predicted || arrays.normed != nullptr ? block_tokens : 0;
      case kGate:
        if (block_tokens > 1) return chunks;
        return two_steps ? DivideUp(chunks, gate_chunks) : 0;
      case kStatistics:
        return two_steps ? block_tokens : 0;
      case kChoose:
        if (block_tokens == 1) return DivideUp(segments, item_segments);
        return two_steps ? chunks : 0;
      case kDown:
        return column_items;
      case kFinish:
        return finish ? block_tokens : 0;
    }
    return 0;
  }
};

}  // namespace lacuna

#endif  // LACUNA_KERNELS_GATED_FFN_JOB_H_
