// The instruction sets that kernels are compiled for, and the one that they use on this processor.
#ifndef LACUNA_KERNELS_TARGETS_H_
#define LACUNA_KERNELS_TARGETS_H_

#include <string_view>

namespace lacuna {

// Finds out what this processor has. Kernels use the best of it, or the set of that name. Call this before the first
// kernel: until then, a kernel may use an instruction that the processor lacks. Throws std::invalid_argument if this
// processor or this library has no such set.
void ChooseInstructions(std::string_view name = {});

// The set in use: "AVX3_DL" (AVX-512 of Ice Lake), "AVX2_VNNI" (with products of bytes), "AVX2" or "SSE2"; "NEON_DOT"
// (with dot products) or "NEON".
const char* InstructionsInUse();

// Whether the processor has AVX-VNNI. Whether the system saves the registers of AVX, Highway knows.
bool HasAvxVnni();

// Whether kernels of Highway's target AVX2 use AVX-VNNI. Highway has no target for it. ChooseInstructions sets this.
inline bool uses_avx_vnni = false;

}  // namespace lacuna

#endif  // LACUNA_KERNELS_TARGETS_H_
