#include "tests/vnni.h"

#if defined(__linux__) && defined(__x86_64__)

#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace lacuna::testing {
namespace {

std::atomic<size_t> steps = 0;

constexpr size_t kBytes = 32;

// A register of 256 bits among those that the signal has interrupted. The lower half is where FXSAVE stores it, and the
// upper one where XSAVE does, with a bit that says whether it was stored: if not, it is zero (Intel SDM, volume 1, 13.4).
class InterruptedRegisters {
 public:
  explicit InterruptedRegisters(const mcontext_t& machine) : area_(reinterpret_cast<uint8_t*>(machine.fpregs)) {
    uint64_t stored;
    std::memcpy(&stored, area_ + kStored, sizeof stored);
    if ((stored & kUpperHalves) != 0) return;
    std::memset(area_ + kUpper, 0, 16 * kBytes / 2);
    stored |= kUpperHalves;
    std::memcpy(area_ + kStored, &stored, sizeof stored);
  }

  void Read(size_t i, void* bytes) const {
    std::memcpy(bytes, area_ + kLower + 16 * i, 16);
    std::memcpy(static_cast<uint8_t*>(bytes) + 16, area_ + kUpper + 16 * i, 16);
  }

  void Write(size_t i, const void* bytes) const {
    std::memcpy(area_ + kLower + 16 * i, bytes, 16);
    std::memcpy(area_ + kUpper + 16 * i, static_cast<const uint8_t*>(bytes) + 16, 16);
  }

 private:
  static constexpr size_t kLower = 160, kStored = 512, kUpper = 576;
  static constexpr uint64_t kUpperHalves = 1 << 2;
  uint8_t* area_;
};

// Bytes of VEX.256.66.0F38.W0 50 /r or of EVEX.256.66.0F38.W0 50 /r, vpdpbusd ymm (reg), ymm (vvvv), ymm (rm), between the
// first 16 registers. 0 if `code` is something else.
size_t LengthOf(const uint8_t* code) {
  const bool is_vex = code[0] == 0xc4 && (code[1] & 0x1f) == 0x02;
  const bool is_evex = code[0] == 0x62 && (code[1] & 0x5f) == 0x52 && code[3] == 0x28;
  const size_t length = is_vex ? 5 : 6;
  const uint8_t* operation = code + length - 2;
  return (is_vex || is_evex) && (code[2] & 0x87) == 0x05 && operation[0] == 0x50 && operation[1] >> 6 == 3 ? length : 0;
}

void OnIllegalInstruction(int signal, siginfo_t*, void* context) {
  mcontext_t& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
  const auto* code = reinterpret_cast<const uint8_t*>(machine.gregs[REG_RIP]);
  const size_t length = LengthOf(code);
  if (length == 0) {
    // The same instruction again, and this time it ends the process.
    ::signal(signal, SIG_DFL);
    return;
  }
  // Both prefixes have the registers' upper bits in the same places, inverted.
  const auto upper = [&](uint8_t bit) { return (code[1] & bit) == 0 ? 8 : 0; };
  const uint8_t mod_rm = code[length - 1];
  const size_t to = (mod_rm >> 3 & 7) + upper(0x80), by = (mod_rm & 7) + upper(0x20), from = ~code[2] >> 3 & 15;
  int32_t sums[kBytes / 4];
  uint8_t codes[kBytes];
  int8_t inputs[kBytes];
  const InterruptedRegisters registers(machine);
  registers.Read(to, sums);
  registers.Read(from, codes);
  registers.Read(by, inputs);
  for (size_t i = 0; i < kBytes; ++i) sums[i / 4] += codes[i] * inputs[i];
  registers.Write(to, sums);
  machine.gregs[REG_RIP] += static_cast<greg_t>(length);
  ++steps;
}

}  // namespace

bool StandInForVnni() {
  struct sigaction action = {};
  action.sa_sigaction = OnIllegalInstruction;
  action.sa_flags = SA_SIGINFO;
  return sigaction(SIGILL, &action, nullptr) == 0;
}

size_t VnniSteps() { return steps; }

}  // namespace lacuna::testing

#else

namespace lacuna::testing {

bool StandInForVnni() { return false; }
size_t VnniSteps() { return 0; }

}  // namespace lacuna::testing

#endif
