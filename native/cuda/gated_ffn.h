// GatedFFN on a GPU; native/reference has it as plain loops.
#ifndef LACUNA_CUDA_GATED_FFN_H_
#define LACUNA_CUDA_GATED_FFN_H_

#include <cuda_runtime_api.h>

#include <cstddef>

#include "kernels/gated_ffn.h"

namespace lacuna::cuda {

// Bytes of device memory that a call for `tokens` tokens works in.
size_t GatedFfnWorkspace(const GatedFfn& ffn, size_t tokens);

// What RunGatedFfn of kernels/ does, enqueued on `stream`. All pointers in `ffn` and `tokens`, and `workspace`, are the
// device's; `threshold` and the like are numbers of the host. How many neurons are chosen stays on the device: nothing waits
// for it and nothing is copied to the host, so a whole model can be one CUDA graph. A token's result has the same bits
// whichever tokens come with it.
//
// Weights are fp32 or bf16, the gate alone decides, and x is normed already; all else gives cudaErrorNotSupported. Returns the
// first error of a launch.
cudaError_t RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, void* workspace, cudaStream_t stream);

}  // namespace lacuna::cuda

#endif  // LACUNA_CUDA_GATED_FFN_H_
