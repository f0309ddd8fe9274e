// Sums over warps and blocks, always in the same order.
#ifndef LACUNA_CUDA_REDUCE_CUH_
#define LACUNA_CUDA_REDUCE_CUH_

namespace lacuna::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
// Threads of a block that works on a token or a row.
constexpr int kRowThreads = 1024;

// Every lane gets the sum.
__device__ inline float WarpSum(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

// Every thread of a block of kRowThreads gets the sum. All of them must call it.
__device__ inline float BlockSum(float value) {
  __shared__ float partial[kRowThreads / kWarp];
  value = WarpSum(value);
  // Other threads may still read the previous sum.
  __syncthreads();
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  return WarpSum(partial[threadIdx.x % kWarp]);
}

// mean + deviation * quantile of a row, for every thread of the block, with the population's deviation. Two passes, so
// a mean far from zero costs no precision.
__device__ inline float StatisticalThreshold(const float* row, size_t columns, float quantile) {
  float sum = 0;
  for (size_t i = threadIdx.x; i < columns; i += kRowThreads) sum += row[i];
  const float mean = BlockSum(sum) / static_cast<float>(columns);
  float squares = 0;
  for (size_t i = threadIdx.x; i < columns; i += kRowThreads) squares += (row[i] - mean) * (row[i] - mean);
  return mean + sqrtf(BlockSum(squares) / static_cast<float>(columns)) * quantile;
}

}  // namespace lacuna::cuda

#endif  // LACUNA_CUDA_REDUCE_CUH_
