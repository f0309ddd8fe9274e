// GatedFFN for a token that is alone in its block: segments of neurons, each from the choice to its share of y.
#if defined(LACUNA_KERNELS_GATED_FFN_SEGMENT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_GATED_FFN_SEGMENT_INL_H_
#undef LACUNA_KERNELS_GATED_FFN_SEGMENT_INL_H_
#else
#define LACUNA_KERNELS_GATED_FFN_SEGMENT_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/gated_ffn_choice-inl.h"
#include "kernels/gated_ffn_down-inl.h"
#include "kernels/rows_ahead-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Neurons of a token that is alone, eight at a time.
struct EightNeurons {
  size_t segment = 0;
  // Fewer at a segment's end.
  size_t count = 0;
  uint32_t neurons[kEight];
};

// Those that some segments' chunks list, in ascending order.
class ListedNeurons {
 public:
  ListedNeurons(const GatedFfnJob& job, size_t segment, size_t end)
      : job_(job), segment_(segment), end_(end), chunk_(job.FirstChunk(segment)) {}

  // None past the last.
  EightNeurons Next() {
    EightNeurons next;
    while (next.count == 0 && segment_ < end_) {
      Fill(next);
      if (chunk_ == job_.FirstChunk(segment_ + 1)) ++segment_;
    }
    return next;
  }

 private:
  void Fill(EightNeurons& next) {
    next.segment = segment_;
    while (next.count < kEight && chunk_ < job_.FirstChunk(segment_ + 1)) {
      if (at_ == job_.ChunkCount(0, chunk_)) {
        at_ = 0;
        ++chunk_;
        continue;
      }
      next.neurons[next.count++] = static_cast<uint32_t>(chunk_ * kChunk + job_.List(0)[chunk_ * kChunk + at_++]);
    }
  }

  const GatedFfnJob& job_;
  size_t segment_;
  const size_t end_;
  size_t chunk_;
  size_t at_ = 0;
};

// A matrix's rows of eight neurons; where there are fewer, the first's instead.
template <class Rows>
struct EightRows {
  EightRows(const Matrix& matrix, size_t width_, const EightNeurons& eight) : width(width_) {
    for (size_t r = 0; r < kEight; ++r) rows[r] = Rows::RowOf(matrix, width, eight.neurons[r < eight.count ? r : 0]);
  }

  const size_t width;
  typename Rows::Row rows[kEight];
};

// Some segments of a token that is alone in its block, from the gate on, or from the choice on where that needs all gates.
template <class Rows>
class SegmentsItem {
 public:
  SegmentsItem(const GatedFfnJob& job, const TokenBlock& block, size_t item)
      : job_(job),
        block_(block),
        first_(item * job.item_segments),
        end_(std::min(first_ + job.item_segments, job.segments)) {}

  void Run() const {
    for (size_t c = job_.FirstChunk(first_); c < job_.FirstChunk(end_); ++c) {
      const Chunk chunk{job_, block_, c};
      if (!job_.two_steps) GateStep<Rows>(chunk);
      ChooseNeurons(chunk, 0);
    }
    for (size_t segment = first_; segment < end_; ++segment) StartSums<Down>(job_, segment, 0, job_.ffn.hidden);
    AddListed();
    for (size_t segment = first_; segment < end_; ++segment) EndSums<Down>(job_, segment, 0, job_.ffn.hidden);
  }

 private:
  using Down = typename Rows::Down;

  // While rows of eight neurons are multiplied, those of the next eight are asked for, whose pages were before.
  void AddListed() const {
    ListedNeurons listed(job_, first_, end_);
    EightNeurons now = listed.Next(), next = listed.Next();
    Ahead(now).AskForAll();
    RowsAhead ahead = Ahead(next);
    while (now.count > 0) {
      const EightNeurons later = listed.Next();
      const RowsAhead later_ahead = Ahead(later);
      later_ahead.AskForPages();
      if (job_.gate_rows) Gates(now, ahead);
      if (job_.up_rows) Ups(now, ahead);
      AddDown(now, ahead);
      now = next;
      next = later;
      ahead = later_ahead;
    }
  }

  EightRows<Rows> RowsOf(const Projection& projection, const EightNeurons& eight) const {
    return {projection.matrix, projection.range.count, eight};
  }
  EightRows<Down> DownOf(const EightNeurons& eight) const { return {job_.ffn.down, job_.ffn.hidden, eight}; }

  // All rows that are read of neurons, in the steps that it takes to multiply as many others.
  RowsAhead Ahead(const EightNeurons& eight) const {
    RowsAhead ahead;
    size_t steps = 0;
    const auto add = [&](const Projection& projection) {
      const EightRows<Rows> rows = RowsOf(projection, eight);
      Rows::AddAhead(rows.rows, eight.count, rows.width, ahead);
      steps += Rows::DotSteps(rows.width);
    };
    if (eight.count == 0) return ahead;
    if (job_.gate_rows) add(GateOf(job_));
    if (job_.up_rows) add(UpOf(job_));
    const EightRows<Down> down = DownOf(eight);
    Down::AddAhead(down.rows, eight.count, down.width, ahead);
    steps += Down::SumSteps(down.width);
    ahead.Spread(steps);
    return ahead;
  }

  void Multiply(const EightNeurons& eight, const Projection& projection, RowsAhead& ahead, float* dots) const {
    const EightRows<Rows> rows = RowsOf(projection, eight);
    Rows::DotEight(rows.rows, InputOf<Rows>(job_, block_, 0, projection), rows.width, ahead, dots);
    for (size_t r = 0; projection.uppers != nullptr && r < eight.count; ++r)
      dots[r] = WithUpper(projection.uppers[eight.neurons[r]], dots[r]);
  }

  // Coefficients are multiplied by act(gate).
  void Gates(const EightNeurons& eight, RowsAhead& ahead) const {
    const Floats d;
    // A whole vector.
    float acts[std::max(kEight, hn::MaxLanes(Floats()))] = {};
    Multiply(eight, GateOf(job_), ahead, acts);
    const float* bias = job_.ffn.gate_bias;
    for (size_t r = 0; bias != nullptr && r < eight.count; ++r) acts[r] += bias[eight.neurons[r]];
    for (size_t r = 0; r < kEight; r += hn::Lanes(d))
      hn::StoreU(Activate(d, job_.ffn.activation, hn::LoadU(d, acts + r)), d, acts + r);
    for (size_t r = 0; r < eight.count; ++r) job_.Coefficients(0)[eight.neurons[r]] *= acts[r];
  }

  // Coefficients are multiplied by up x.
  void Ups(const EightNeurons& eight, RowsAhead& ahead) const {
    float dots[kEight];
    Multiply(eight, UpOf(job_), ahead, dots);
    for (size_t r = 0; r < eight.count; ++r)
      job_.Coefficients(0)[eight.neurons[r]] *= UpFactor(job_.ffn, eight.neurons[r], dots[r]);
  }

  void AddDown(const EightNeurons& eight, RowsAhead& ahead) const {
    const EightRows<Down> rows = DownOf(eight);
    float coefficients[kEight] = {};
    for (size_t r = 0; r < eight.count; ++r) coefficients[r] = job_.Coefficients(0)[eight.neurons[r]];
    Down::AddEight(rows.rows, coefficients, rows.width, ahead, job_.Sums(eight.segment), job_.Zeros(eight.segment, 0));
  }

  const GatedFfnJob& job_;
  const TokenBlock& block_;
  // Segments.
  const size_t first_;
  const size_t end_;
};

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
