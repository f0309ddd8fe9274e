#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/norm_attention.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/attention-inl.h"
#include "kernels/cache-inl.h"
#include "kernels/few_keys-inl.h"
#include "kernels/norm-inl.h"
#include "kernels/part-inl.h"
#include "kernels/sketch-inl.h"
#include "kernels/storage_products-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

class NormAttentionJob : public PhasedJob {
 public:
  NormAttentionJob(const NormAttention& part, const Stream& stream, const Cache& cache, float* y, Scratch& scratch,
                   size_t most_workers)
      : PhasedJob(stream.tokens, part.post_norm.weight == nullptr ? 6 : 7, WorkOf(part) * stream.tokens, most_workers),
        part_(part),
        products_(ProductsOf(part.storage)),
        stream_(stream),
        cache_(cache),
        y_(y),
        hidden_(part.output.rows),
        head_(part.head_size),
        group_(part.heads / part.kv_heads),
        row_tokens_(stream.tokens / cache.rows),
        attended_(part.window == 0 ? cache.layout.attended : 0),
        projections_(RowsAnItem(part.heads + 2 * part.kv_heads, 1)),
        rows_(RowsAnItem(part.output.rows, kRows)),
        attending_(std::max(kTokens, DivideUp(most_tokens(), DivideUp(ItemsWanted(), part.kv_heads)))),
        attention_(part.head_size, part.scale, part.softcap),
        arrays_(Place<Arrays>(scratch, *this)) {
    static_assert(Attention::kRun == kCacheRun);
    Number([this](size_t phase, const TokenBlock& block) {
      switch (phase) {
        case kProject:
          return DivideUp(Projections(), projections_);
        case kAttend:
          if (block.count == 1) return DivideUp(AllRunsOf(block.first), RunsAnItem(block.first));
          return part_.kv_heads * (IsFew(block) ? block.count : DivideUp(block.count, attending_));
        case kChoose:
          return IsFew(block) ? block.count * part_.heads : 0;
        case kOutput:
          return DivideUp(hidden_, rows_);
        default:
          return DivideUp(block.count, kTokens);
      }
    });
  }

  void Item(size_t phase, const TokenBlock& block, size_t item, size_t worker) {
    switch (phase) {
      case kPrepare:
        return ForTokens(block, item, [this](size_t token, size_t t) {
          float* normed = arrays_.normed + t * hidden_;
          NormaliseStream(part_.norm, stream_, token, hidden_, normed);
          products_.Code(normed, hidden_, arrays_.input, t);
        });
      case kProject:
        for (size_t one = item * projections_; one < std::min(Projections(), (item + 1) * projections_); ++one)
          Project(block, one);
        return;
      case kAttend:
        if (block.count == 1) return AttendRuns(block.first, item);
        return IsFew(block) ? AttendToken(block, item, worker) : AttendTokens(block, item, worker);
      case kChoose:
        return AttendToFew(block, item, worker);
      case kCollect:
        if (block.count == 1 && !IsFew(block)) JoinRuns(block.first);
        return ForTokens(block, item, [this](size_t, size_t t) {
          products_.Code(arrays_.attended + t * Width(), Width(), arrays_.output, t);
        });
      case kOutput: {
        const size_t first = item * rows_;
        return products_.Multiply(part_.output, first, std::min(rows_, hidden_ - first), arrays_.output, 0, block.count,
                                  y_ + block.first * hidden_ + first, hidden_);
      }
      case kPostNorm:
        return ForTokens(block, item, [this](size_t token, size_t) {
          Normalise(part_.post_norm, y_ + token * hidden_, hidden_, y_ + token * hidden_);
        });
    }
  }

  void Fetch(size_t phase, size_t item) const {
    if (phase == kProject) {
      const auto [matrix, head] = ProjectionOf(item * projections_);
      products_.Fetch(matrix, head * head_);
    }
    if (phase == kOutput) products_.Fetch(part_.output, item * rows_);
  }

 private:
  enum Phase { kPrepare, kProject, kAttend, kChoose, kCollect, kOutput, kPostNorm };
  // An item's rows of the output's matrix are whole multiples of it.
  static constexpr size_t kRows = 16;

  struct Arrays {
    Arrays(const NormAttentionJob& job, ScratchLayout& layout)
        : normed(layout.Array<float>(job.most_tokens(), job.hidden_)),
          input(job.part_.storage, job.hidden_, job.most_tokens(), layout),
          queries(layout.Array<float>(job.most_tokens(), job.Width())),
          attended(layout.Array<float>(job.most_tokens(), job.Width())),
          output(job.part_.storage, job.Width(), job.most_tokens(), layout),
          sums(layout.Array<RunSums>(job.most_tokens(), job.part_.heads)),
          transposed(layout.Array<float>(job.workers(), job.attention_.transposed_size())),
          run_sums(layout.Array<RunSums>(job.part_.heads, job.MostRuns())),
          run_weighted(layout.Array<float>(job.Width(), job.MostRuns())) {
      if (job.KeepsFresh()) fresh = layout.Array<float>(2 * job.part_.kv_heads, job.most_tokens(), job.head_);
      const size_t predicted = job.MostPredicted();
      if (job.IsNarrow()) widened = layout.Array<float>(job.workers(), 2 * kCacheRun, job.head_);
      if (predicted == 0) return;
      coded = layout.Array<CodedQuery>(job.most_tokens(), job.part_.heads);
      scores = layout.Array<float>(job.most_tokens(), job.part_.heads, predicted);
      score_sums = layout.Array<RunSums>(job.most_tokens(), job.part_.heads, predicted / kCacheRun);
      chosen = layout.Array<uint32_t>(job.workers(), predicted);
      weights = layout.Array<float>(job.workers(), predicted);
    }

    // [tokens of a block, hidden]
    float* normed;
    CodedTokens input;
    // [tokens of a block, heads * head]; what queries attended to.
    float* queries;
    float* attended;
    CodedTokens output;
    // [tokens of a block, heads]
    RunSums* sums;
    // Keys of the run that a worker is at.
    float* transposed;
    // Of a token that comes alone, [heads, runs] and [heads, runs, head].
    RunSums* run_sums;
    float* run_weighted;
    // Of caches that do not hold floats in their order, [2 * kv_heads, tokens of a block, head] new keys and values, and
    // [workers, 2 * run, head] those of the run that a worker is at.
    float* fresh = nullptr;
    float* widened = nullptr;
    // Of tokens that attend to few, [tokens of a block, heads] queries, [tokens of a block, heads, positions] scores, their sums
    // [tokens of a block, heads, runs], and a worker's own FewKeys::Scratch.
    CodedQuery* coded = nullptr;
    float* scores = nullptr;
    RunSums* score_sums = nullptr;
    uint32_t* chosen = nullptr;
    float* weights = nullptr;
  };

  struct Projection {
    const BlockMatrix& matrix;
    size_t head;
  };

  static size_t WorkOf(const NormAttention& part) {
    return (2 * part.query.rows + part.key.rows + part.value.rows) * part.query.columns;
  }

  size_t Width() const { return part_.heads * head_; }
  // Heads of queries, keys and values.
  size_t Projections() const { return part_.heads + 2 * part_.kv_heads; }

  // Where a token of the call stands in its row.
  size_t PositionOf(size_t token) const { return cache_.seen[token / row_tokens_] + token % row_tokens_; }
  // The first position that it sees.
  size_t FirstSeen(size_t position) const {
    return part_.window == 0 || position < part_.window ? 0 : position - part_.window + 1;
  }
  size_t RunsOf(size_t token) const {
    const size_t position = PositionOf(token);
    return position / Attention::kRun - FirstSeen(position) / Attention::kRun + 1;
  }
  // Of all heads of keys, head after head. An item has some that lie together, which are read faster than others.
  size_t AllRunsOf(size_t token) const { return part_.kv_heads * RunsOf(token); }
  size_t RunsAnItem(size_t token) const { return DivideUp(AllRunsOf(token), 2 * ItemsWanted()); }
  // Runs that are kept apart: of the one token that comes in a block of its own, which is the last where there are several.
  size_t MostRuns() const { return stream_.tokens % kTokenBlock == 1 ? RunsOf(stream_.tokens - 1) : 0; }

  Projection ProjectionOf(size_t projection) const {
    if (projection < part_.heads) return {part_.query, projection};
    const size_t head = projection - part_.heads;
    if (head < part_.kv_heads) return {part_.key, head};
    return {part_.value, head - part_.kv_heads};
  }

  bool IsNarrow() const { return cache_.layout.format != CacheFormat::kFp32; }
  // Whether keys have sketches.
  bool HasSketch() const { return attended_ > 0; }
  bool KeepsFresh() const { return IsNarrow() || HasSketch(); }
  // Whether a token attends to few of those that it sees: one that comes alone in its row, and sees more.
  bool IsFewToken(size_t token) const { return HasSketch() && row_tokens_ == 1 && PositionOf(token) >= attended_; }
  bool IsFew(const TokenBlock& block) const {
    for (size_t token = block.first; token < block.first + block.count; ++token)
      if (IsFewToken(token)) return true;
    return false;
  }
  // Positions that scores are predicted for, at most; 0 if none are. In large steps, so that scratch seldom grows.
  size_t MostPredicted() const {
    constexpr size_t kStep = 1024;
    size_t most = 0;
    for (size_t token = 0; row_tokens_ == 1 && token < stream_.tokens; ++token)
      if (IsFewToken(token)) most = std::max(most, PositionOf(token) + 1);
    return DivideUp(most, kStep) * kStep;
  }

  // Where a head's keys or values begin.
  float* HeadOf(float* cache, size_t row, size_t kv_head) const {
    return cache + (row * part_.kv_heads + kv_head) * cache_.capacity * head_;
  }
  float* WidenedOf(size_t worker, size_t position = 0) const {
    return arrays_.widened == nullptr ? nullptr : arrays_.widened + (worker * 2 * kCacheRun + position) * head_;
  }
  HeadCache KeysOf(size_t row, size_t kv_head) const {
    const CacheLayout layout = {cache_.layout.format, attended_};
    return {layout.format, HeadOf(cache_.key, row, kv_head), head_, KeyRunBytes(layout, head_)};
  }
  HeadCache ValuesOf(size_t row, size_t kv_head) const {
    const CacheFormat format = cache_.layout.format;
    return {format, HeadOf(cache_.value, row, kv_head), head_, CacheRunBytes(format, head_)};
  }
  Sketch SketchOf(size_t row, size_t kv_head) const {
    return {KeysOf(row, kv_head), cache_.layout.format, head_, part_.scale, part_.softcap};
  }

  // One head of queries, keys or values for all tokens of a block, to where it is read from.
  void Project(const TokenBlock& block, size_t projection) const {
    const auto [matrix, head] = ProjectionOf(projection);
    const bool is_query = projection < part_.heads, is_key = !is_query && projection < part_.heads + part_.kv_heads;
    if (is_query) {
      float* queries = arrays_.queries + head * head_;
      products_.Multiply(matrix, head * head_, head_, arrays_.input, 0, block.count, queries, Width());
      for (size_t t = 0; t < block.count; ++t) {
        const size_t token = block.first + t;
        Position(part_.query_norm, PositionOf(token), queries + t * Width());
        if (IsFewToken(token)) SketchOf(token, head / group_).Code(queries + t * Width(), arrays_.coded[t * part_.heads + head]);
      }
      return;
    }
    float* cache = is_key ? cache_.key : cache_.value;
    float* fresh = KeepsFresh() ? arrays_.fresh + (projection - part_.heads) * most_tokens() * head_ : nullptr;
    if (block.first == 0)
      CopySeen(cache_, part_, row_tokens_, head, is_key ? cache_.past_key : cache_.past_value, cache);
    // Tokens of one row have their places one after the other.
    for (size_t t = 0; t < block.count;) {
      const size_t token = block.first + t;
      const size_t count = std::min(block.count - t, row_tokens_ - token % row_tokens_);
      const size_t row = token / row_tokens_, position = PositionOf(token);
      float* to = KeepsFresh() ? fresh : HeadOf(cache, row, head) + position * head_;
      products_.Multiply(matrix, head * head_, head_, arrays_.input, t, count, to, head_);
      for (size_t i = 0; is_key && i < count; ++i) Position(part_.key_norm, position + i, to + i * head_);
      for (size_t i = 0; KeepsFresh() && i < count; ++i)
        is_key ? KeepKey(row, head, position + i, to + i * head_) : KeepValue(row, head, position + i, to + i * head_);
      t += count;
    }
  }

  void KeepKey(size_t row, size_t kv_head, size_t position, const float* key) const {
    KeysOf(row, kv_head).Store(position, key);
    if (HasSketch()) SketchOf(row, kv_head).Store(position, key);
  }
  void KeepValue(size_t row, size_t kv_head, size_t position, const float* value) const {
    const HeadCache values = ValuesOf(row, kv_head);
    values.Store(position, value);
    if (HasSketch() && position % kCacheRun == kCacheRun - 1) SketchOf(row, kv_head).Sum(position / kCacheRun, values);
  }

  // A head's norm, where it has one, and its position: pairs of entries turn by the position's angles.
  void Position(const RmsNorm& norm, size_t position, float* head) const {
    if (norm.weight != nullptr) Normalise(norm, head, head_, head);
    // Heads are multiples of 16.
    const hn::CappedTag<float, 8> d;
    const size_t half = head_ / 2;
    const float* cosines = part_.cosines + position * half;
    const float* sines = part_.sines + position * half;
    for (size_t i = 0; i < half; i += hn::Lanes(d)) {
      const auto cosine = hn::LoadU(d, cosines + i), sine = hn::LoadU(d, sines + i);
      const auto first = hn::LoadU(d, head + i), second = hn::LoadU(d, head + half + i);
      hn::StoreU(hn::NegMulAdd(second, sine, hn::Mul(first, cosine)), d, head + i);
      hn::StoreU(hn::MulAdd(first, sine, hn::Mul(second, cosine)), d, head + half + i);
    }
  }

  // What of a run the query of a position attends to.
  Attention::Query QueryOf(const float* query, size_t position, size_t run, RunSums* sums, float* weighted) const {
    const size_t first = FirstSeen(position), start = run * Attention::kRun;
    return {query, first <= start ? 0 : first - start, std::min(position + 1 - start, Attention::kRun), sums, weighted};
  }

  // A run's keys or values, [positions, head]: in the cache, or if that is narrow, the first `count` of them in `widened`.
  FloatRows EntriesOf(const HeadCache& cache, size_t run, size_t count, float* widened) const {
    if (!IsNarrow()) return {reinterpret_cast<const float*>(cache.RunAt(run)), head_};
    cache.Widen(run, count, widened);
    return {widened, head_};
  }

  // Some runs of positions, each for all queries of a group.
  void AttendRuns(size_t token, size_t item) const {
    const size_t runs = RunsAnItem(token), end = std::min((item + 1) * runs, AllRunsOf(token));
    for (size_t run = item * runs; run < end; ++run) AttendRun(token, run);
  }
  void AttendRun(size_t token, size_t number) const {
    const size_t runs = RunsOf(token), run = number % runs, kv_head = number / runs;
    if (IsFewToken(token)) return Predict(token, 0, kv_head, run);
    const size_t position = PositionOf(token), place = FirstSeen(position) / Attention::kRun + run;
    for (size_t head = kv_head * group_, end = head + group_; head < end;) {
      Attention::Query queries[Attention::kMostQueries];
      size_t count = 0;
      for (; head < end && count < Attention::kMostQueries; ++head) {
        const size_t at = head * runs + run;
        queries[count++] = QueryOf(arrays_.queries + head * head_, position, place, Reset(arrays_.run_sums + at),
                                   Reset(arrays_.run_weighted + at * head_));
      }
      const size_t row = token / row_tokens_;
      const HeadCache keys = KeysOf(row, kv_head), values = ValuesOf(row, kv_head);
      switch (keys.format()) {
        case CacheFormat::kFp32:
          AttendAs<CacheFormat::kFp32>(queries, count, keys, values, place);
          break;
        case CacheFormat::kFp16:
          AttendAs<CacheFormat::kFp16>(queries, count, keys, values, place);
          break;
        case CacheFormat::kInt8:
          AttendAs<CacheFormat::kInt8>(queries, count, keys, values, place);
          break;
      }
    }
  }

  template <CacheFormat kFormat>
  void AttendAs(const Attention::Query* queries, size_t count, const HeadCache& keys, const HeadCache& values, size_t run) const {
    attention_.RunFew(queries, count, keys.RowsOf<kFormat>(run), values.RowsOf<kFormat>(run));
  }

  void JoinRuns(size_t token) const {
    const size_t runs = RunsOf(token);
    for (size_t head = 0; head < part_.heads; ++head) {
      RunSums& all = *Reset(arrays_.sums + head);
      float* to = Reset(arrays_.attended + head * head_);
      for (size_t at = head * runs; at < (head + 1) * runs; ++at)
        attention_.Join(arrays_.run_sums[at], arrays_.run_weighted + at * head_, all, to);
      attention_.Finish(all, to);
    }
  }

  // Predicted scores of a run's keys for the queries of a group.
  void Predict(size_t token, size_t t, size_t kv_head, size_t run) const {
    const size_t at = t * part_.heads + kv_head * group_, positions = MostPredicted();
    const size_t runs = positions / kCacheRun, visible = std::min(PositionOf(token) + 1 - run * kCacheRun, kCacheRun);
    SketchOf(token, kv_head).Predict(run, visible, arrays_.coded + at, group_, arrays_.scores + at * positions + run * kCacheRun,
                                     positions, arrays_.score_sums + at * runs + run, runs);
  }

  // One of several tokens, of which each comes alone in its row, for all queries of a group.
  void AttendToken(const TokenBlock& block, size_t item, size_t worker) const {
    const size_t t = item / part_.kv_heads, kv_head = item % part_.kv_heads, token = block.first + t;
    if (!IsFewToken(token)) return AttendGroup(token, t, 1, kv_head, worker);
    for (size_t run = 0; run < RunsOf(token); ++run) Predict(token, t, kv_head, run);
  }

  // One query over the tokens that it chooses.
  void AttendToFew(const TokenBlock& block, size_t item, size_t worker) const {
    const size_t t = item / part_.heads, head = item % part_.heads, token = block.first + t;
    if (!IsFewToken(token)) return;
    const size_t at = t * part_.heads + head, kv_head = head / group_, positions = MostPredicted();
    const FewKeys::Scratch scratch = {arrays_.scores + at * positions, arrays_.score_sums + at * positions / kCacheRun, arrays_.chosen + worker * positions,
                                      arrays_.weights + worker * positions};
    const FewKeys few(attention_, KeysOf(token, kv_head), ValuesOf(token, kv_head), SketchOf(token, kv_head), head_);
    few.Attend(arrays_.queries + at * head_, PositionOf(token) + 1, attended_, scratch, arrays_.attended + at * head_);
  }

  // All runs of some tokens for all queries of a group.
  void AttendTokens(const TokenBlock& block, size_t item, size_t worker) const {
    const size_t parts = DivideUp(block.count, attending_);
    const size_t first = item % parts * attending_, end = std::min(block.count, first + attending_);
    // Tokens of a row attend to the same keys.
    for (size_t t = first; t < end;) {
      const size_t token = block.first + t;
      const size_t count = std::min(end - t, row_tokens_ - token % row_tokens_);
      AttendGroup(token, t, count, item / parts, worker);
      t += count;
    }
  }

  // Some tokens of a row and a group's heads, run by run.
  void AttendGroup(size_t token, size_t t, size_t tokens, size_t kv_head, size_t worker) const {
    float* transposed = arrays_.transposed + worker * attention_.transposed_size();
    const size_t first = PositionOf(token), last = first + tokens - 1;
    ForQueries(t, tokens, kv_head, [&](size_t, size_t at) {
      Reset(arrays_.sums + at);
      Reset(arrays_.attended + at * head_);
    });
    for (size_t run = FirstSeen(first) / Attention::kRun; run <= last / Attention::kRun; ++run) {
      const size_t positions = std::min(last + 1 - run * Attention::kRun, Attention::kRun);
      const size_t row = token / row_tokens_;
      const FloatRows keys = EntriesOf(KeysOf(row, kv_head), run, positions, WidenedOf(worker));
      const FloatRows values = EntriesOf(ValuesOf(row, kv_head), run, positions, WidenedOf(worker, kCacheRun));
      const bool many = tokens * group_ >= Attention::kManyQueries;
      if (many) attention_.Transpose(keys.start, positions, transposed);
      Attention::Query queries[Attention::kMostQueries];
      size_t count = 0;
      const auto attend = [&] {
        if (many) {
          attention_.RunMany(queries, count, transposed, values);
        } else {
          attention_.RunFew(queries, count, keys, values);
        }
        count = 0;
      };
      ForQueries(t, tokens, kv_head, [&](size_t i, size_t at) {
        const size_t position = first + i;
        if (run < FirstSeen(position) / Attention::kRun || run > position / Attention::kRun) return;
        queries[count++] =
            QueryOf(arrays_.queries + at * head_, position, run, arrays_.sums + at, arrays_.attended + at * head_);
        if (count == Attention::kMostQueries) attend();
      });
      if (count > 0) attend();
    }
    ForQueries(t, tokens, kv_head,
               [&](size_t, size_t at) { attention_.Finish(arrays_.sums[at], arrays_.attended + at * head_); });
  }

  // Calls run(i, place in [tokens of a block, heads]) for the queries of a group's heads for tokens from t on.
  template <class Run>
  void ForQueries(size_t t, size_t tokens, size_t kv_head, Run run) const {
    for (size_t i = 0; i < tokens; ++i) {
      for (size_t head = kv_head * group_; head < (kv_head + 1) * group_; ++head) run(i, (t + i) * part_.heads + head);
    }
  }

  // What no position was joined to yet.
  RunSums* Reset(RunSums* sums) const {
    *sums = {};
    return sums;
  }
  float* Reset(float* weighted) const {
    std::fill_n(weighted, head_, 0.0f);
    return weighted;
  }

  const NormAttention& part_;
  const StorageProducts products_;
  const Stream& stream_;
  const Cache& cache_;
  float* y_;
  const size_t hidden_;
  const size_t head_;
  // Heads that share keys and values.
  const size_t group_;
  // Tokens a row.
  const size_t row_tokens_;
  // Tokens that one which comes alone in its row attends to at most; 0: all.
  const size_t attended_;
  // Heads, rows of the output's matrix, and tokens that attend, an item.
  const size_t projections_;
  const size_t rows_;
  const size_t attending_;
  const Attention attention_;
  const Arrays arrays_;
};

void RunAttention(const NormAttention& part, const Stream& stream, const Cache& cache, float* y, Scratch& scratch,
                  const Parallel& parallel) {
  NormAttentionJob job(part, stream, cache, y, scratch, parallel.workers);
  RunJob(job, parallel);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {
HWY_EXPORT(RunAttention);
}  // namespace

void RunNormAttention(const NormAttention& part, const Stream& stream, const Cache& cache, float* y, Scratch& scratch,
                      const Parallel& parallel) {
  if (stream.tokens > 0) return HWY_DYNAMIC_DISPATCH(RunAttention)(part, stream, cache, y, scratch, parallel);
  for (size_t head = 0; head < part.kv_heads; ++head) {
    CopySeen(cache, part, 0, head, cache.past_key, cache.key);
    CopySeen(cache, part, 0, head, cache.past_value, cache.value);
  }
}

}  // namespace lacuna
#endif  // HWY_ONCE
