#include "kernels/statistical_top_k.h"

#include <atomic>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/statistical_top_k.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/statistics-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

int32_t TopKRow(const StatisticalTopK& op, size_t columns, const float* x, float* y) {
  const hn::ScalableTag<float> d;
  const Moments moments = MomentsOf(x, columns);
  const auto mean = hn::Set(d, static_cast<float>(moments.mean));
  const auto cut = hn::Set(d, static_cast<float>(moments.Deviation()) * op.quantile);
  size_t kept = 0;
  for (size_t i = 0; i < columns; i += hn::Lanes(d)) {
    const size_t count = HWY_MIN(columns - i, hn::Lanes(d));
    const auto value = hn::LoadN(d, x + i, count);
    const auto centred = hn::Sub(value, mean);
    // NaN is kept, so that it shows.
    const auto below = hn::Lt(centred, cut);
    kept += hn::CountTrue(d, hn::AndNot(below, hn::FirstN(d, count)));
    const auto picked = op.mode == TopKMode::kSoft ? hn::Sub(centred, cut) : value;
    hn::StoreN(hn::IfThenZeroElse(below, picked), d, y + i, count);
  }
  return static_cast<int32_t>(kept);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lacuna {
namespace {

HWY_EXPORT(TopKRow);

struct Job {
  const StatisticalTopK& op;
  size_t rows, columns;
  const float* x;
  float* y;
  int32_t* kept;
  std::atomic<size_t> next{0};
};

void Work(void* argument, size_t) {
  Job& job = *static_cast<Job*>(argument);
  for (size_t row; (row = job.next.fetch_add(1, std::memory_order_relaxed)) < job.rows;) {
    const size_t start = row * job.columns;
    const int32_t kept = HWY_DYNAMIC_DISPATCH(TopKRow)(job.op, job.columns, job.x + start, job.y + start);
    if (job.kept != nullptr) job.kept[row] = kept;
  }
}

}  // namespace

void RunStatisticalTopK(const StatisticalTopK& op, size_t rows, size_t columns, const float* x, float* y, int32_t* kept,
                        const Parallel& parallel) {
  Job job{op, rows, columns, x, y, kept};
  parallel.run(parallel.state, rows < parallel.workers ? rows : parallel.workers, Work, &job);
}

}  // namespace lacuna
#endif  // HWY_ONCE
