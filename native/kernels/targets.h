// The instruction sets that kernels are compiled for, and the one that they use on this processor.
#ifndef LACUNA_KERNELS_TARGETS_H_
#define LACUNA_KERNELS_TARGETS_H_

#include <cstdint>
#include <string_view>

namespace lacuna {

// Finds out what this processor has. Kernels use the best of it, or the set of that name. Call this before the first
// kernel: until then, a kernel may use an instruction that the processor lacks. Throws std::invalid_argument if this
// processor or this library has no such set.
void ChooseInstructions(std::string_view name = {});

// The set in use: "AVX3_DL" (AVX-512 of Ice Lake), "AVX2_VNNI" (with products of bytes), "AVX2" or "SSE2"; "NEON_DOT"
// (with dot products) or "NEON".
const char* InstructionsInUse();

// The instruction for four products of bytes in vectors of 256 bits, which Highway's target AVX2 lacks. It has two
// encodings. AVX-VNNI has the one of AVX. AVX-512 has the one of its own.
enum class Vnni : uint8_t { kNone, kVex, kEvex };

// What this processor has, where its system saves the registers of AVX2.
Vnni VnniOfThisProcessor();

// What kernels of AVX2 use. ChooseInstructions sets this.
inline Vnni vnni_in_use = Vnni::kNone;

}  // namespace lacuna

#endif  // LACUNA_KERNELS_TARGETS_H_
