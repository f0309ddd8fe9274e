#include "cuda/reduce.cuh"
#include "cuda/statistical_top_k.h"

namespace lacuna::cuda {
namespace {

// One block for each row.
__global__ void __launch_bounds__(kRowThreads)
    TopKKernel(TopKMode mode, float quantile, size_t columns, const float* x, float* y, int32_t* kept) {
  const size_t start = blockIdx.x * columns;
  const float theta = StatisticalThreshold(x + start, columns, quantile);
  float count = 0;
  for (size_t i = threadIdx.x; i < columns; i += kRowThreads) {
    const float value = x[start + i];
    // NaN stays, so that it shows.
    const bool chosen = !(value < theta);
    count += chosen;
    y[start + i] = chosen ? (mode == TopKMode::kSoft ? value - theta : value) : 0.0f;
  }
  // Whole numbers below 2^24 are exact in float.
  const float total = BlockSum(count);
  if (kept != nullptr && threadIdx.x == 0) kept[blockIdx.x] = static_cast<int32_t>(total);
}

}  // namespace

cudaError_t RunStatisticalTopK(const StatisticalTopK& op, size_t rows, size_t columns, const float* x, float* y,
                               int32_t* kept, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  TopKKernel<<<static_cast<unsigned>(rows), kRowThreads, 0, stream>>>(op.mode, op.quantile, columns, x, y, kept);
  return cudaGetLastError();
}

}  // namespace lacuna::cuda
