#include "kernels/gated_ffn.h"

#include <algorithm>

#include "kernels/gated_ffn_job.h"

namespace lacuna {
namespace {

// Of each storage's own file, or of measure nested's.
void (*WorkerOf(const GatedFfn& ffn))(const GatedFfnJob& job) {
  if (IsNested(ffn.choice)) return WorkOnNested;
  switch (ffn.storage) {
    case Storage::kFp32:
      return WorkOnFp32;
    case Storage::kBf16:
      return WorkOnBf16;
    case Storage::kFp16:
      return WorkOnFp16;
    case Storage::kInt8:
      return WorkOnInt8;
    case Storage::kInt4:
      return WorkOnInt4;
  }
  return nullptr;
}

// A second thread is worth waking for the work of about ten microseconds.
constexpr size_t kProductsAWorker = 64 * 1024;

size_t WorkersFor(const GatedFfn& ffn, size_t tokens, size_t most) {
  const size_t products = tokens * ffn.neurons * (ffn.gate_inputs.count + ffn.up_inputs.count + ffn.hidden);
  return std::clamp<size_t>(products / kProductsAWorker, 1, most);
}

// Returns how many tokens are active, and which in `active`; leaves out the others.
size_t SetInactive(const GatedFfn& ffn, const GatedFfnTokens& tokens, uint32_t* active) {
  size_t count = 0;
  for (size_t token = 0; token < tokens.stream.tokens; ++token) {
    if (tokens.mask.IsActive(token)) {
      active[count++] = static_cast<uint32_t>(token);
      continue;
    }
    LeaveOut(tokens.stream, tokens.mask, token, ffn.hidden, tokens.y);
    if (tokens.kept != nullptr) tokens.kept[token] = 0;
  }
  return count;
}

}  // namespace

void RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, Scratch& scratch, const Parallel& parallel) {
  if (tokens.stream.tokens == 0) return;
  ScratchLayout sizes(nullptr);
  GatedFfnArrays(ffn, tokens.stream.tokens, sizes);
  ScratchLayout places(scratch.AtLeast(sizes.bytes()));
  const GatedFfnArrays arrays(ffn, tokens.stream.tokens, places);
  const size_t active = SetInactive(ffn, tokens, arrays.active);
  if (active == 0) return;
  const size_t workers = WorkersFor(ffn, active, parallel.workers);
  GatedFfnJob job(ffn, tokens, arrays, active, workers, WorkerOf(ffn));
  const auto task = [](void* argument, size_t) {
    const GatedFfnJob& mine = *static_cast<const GatedFfnJob*>(argument);
    mine.work(mine);
  };
  parallel.run(parallel.state, std::min(workers, job.items.count()), task, &job);
}

}  // namespace lacuna
