// Products of bytes by VNNI on processors that lack it, so that its kernels are tested wherever there is AVX2.
#ifndef LACUNA_TESTS_VNNI_H_
#define LACUNA_TESTS_VNNI_H_

#include <cstddef>

namespace lacuna::testing {

// From now on a handler of the signal that processors raise at an unknown instruction does what vpdpbusd would have done.
// It knows the forms that kernels of AVX2 use: 256 bits, in both encodings, between registers. False where there is no such
// handler, which is everywhere but on Linux on x64.
bool StandInForVnni();

// How often the handler stood in so far.
size_t VnniSteps();

}  // namespace lacuna::testing

#endif  // LACUNA_TESTS_VNNI_H_
