// GatedFFN on a GPU; native/reference has it as plain loops.
#ifndef LACUNA_CUDA_GATED_FFN_H_
#define LACUNA_CUDA_GATED_FFN_H_

#include <cuda_runtime_api.h>

#include <cstddef>

#include "kernels/gated_ffn.h"

namespace lacuna::cuda {

// Bytes of device memory for a call with `tokens` tokens.
size_t GatedFfnWorkspace(const GatedFfn& ffn, size_t tokens);

// As RunGatedFfn of kernels/, enqueued on `stream`. All pointers in `ffn` and `tokens`, and `workspace`, are in the
// device's memory; `threshold` and other numbers are the host's. The number of chosen neurons stays on the device.
// Nothing waits for it and nothing is copied to the host, so a whole model can be one CUDA graph. A token's result has
// the same bits whichever tokens come with it.
//
// Weights are fp32 or bf16, the choice uses only the gate, and x is already normed. Anything else gives
// cudaErrorNotSupported. Returns the first error of a launch.
cudaError_t RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, void* workspace, cudaStream_t stream);

}  // namespace lacuna::cuda

#endif  // LACUNA_CUDA_GATED_FFN_H_
