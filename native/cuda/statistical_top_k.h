// StatisticalTopK on a GPU. native/reference has it as plain loops.
#ifndef LACUNA_CUDA_STATISTICAL_TOP_K_H_
#define LACUNA_CUDA_STATISTICAL_TOP_K_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/statistical_top_k.h"

namespace lacuna::cuda {

// As RunStatisticalTopK of kernels/, enqueued on `stream`: x and y [rows, columns] and kept [rows] (or null) are in the
// device's memory. Nothing waits for the device. Returns the first error of a launch.
cudaError_t RunStatisticalTopK(const StatisticalTopK& op, size_t rows, size_t columns, const float* x, float* y,
                               int32_t* kept, cudaStream_t stream);

}  // namespace lacuna::cuda

#endif  // LACUNA_CUDA_STATISTICAL_TOP_K_H_
