// GatedFFN, item by item, for one storage of weights: WorkOnGatedFfn<Rows>, with Rows from rows-inl.h or blocks-inl.h for gate
// and up, and Rows::Down for `down`.
#if defined(LACUNA_KERNELS_GATED_FFN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LACUNA_KERNELS_GATED_FFN_INL_H_
#undef LACUNA_KERNELS_GATED_FFN_INL_H_
#else
#define LACUNA_KERNELS_GATED_FFN_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "hwy/highway.h"
#include "kernels/gated_ffn_choice-inl.h"
#include "kernels/gated_ffn_down-inl.h"
#include "kernels/gated_ffn_gate-inl.h"
#include "kernels/gated_ffn_job.h"
#include "kernels/gated_ffn_segment-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

template <class Rows>
void GateItem(const GatedFfnJob& job, const TokenBlock& block, size_t item) {
  const size_t chunks = block.count == 1 ? job.gate_chunks : 1;
  for (size_t c = item * chunks; c < std::min((item + 1) * chunks, job.chunks); ++c) {
    const Chunk chunk{job, block, c};
    GateStep<Rows>(chunk);
    if (!job.two_steps) ChooseStep<Rows>(chunk);
  }
}

template <class Rows>
void RunItem(const GatedFfnJob& job, size_t phase, const TokenBlock& block, size_t item) {
  switch (phase) {
    case GatedFfnJob::kPrepare:
      return PrepareItem<Rows>(job, block, item);
    case GatedFfnJob::kGate:
      return GateItem<Rows>(job, block, item);
    case GatedFfnJob::kStatistics:
      return StatisticsItem(job, item);
    case GatedFfnJob::kChoose:
      if (block.count == 1) return SegmentsItem<Rows>(job, block, item).Run();
      return ChooseStep<Rows>(Chunk{job, block, item});
    case GatedFfnJob::kDown:
      return DownItem<typename Rows::Down>(job, block, item);
    case GatedFfnJob::kFinish:
      return FinishItem(job, block.first + item);
  }
}

// Rows are asked for by the steps themselves.
template <class Rows>
void WorkOnGatedFfn(const GatedFfnJob& job) {
  job.Work([](size_t, size_t) {}, [&](size_t phase, const TokenBlock& block, size_t item) {
    RunItem<Rows>(job, phase, block, item);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#endif
