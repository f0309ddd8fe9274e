#include "kernels/gated_ffn.h"

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
    case Storage::kInt6:
      return WorkOnInt6;
    case Storage::kInt5:
      return WorkOnInt5;
    case Storage::kInt4:
      return WorkOnInt4;
  }
  return nullptr;
}

// Returns how many tokens are active; leaves out the others.
size_t LeaveOutInactive(const GatedFfn& ffn, const GatedFfnTokens& tokens) {
  size_t active = 0;
  for (size_t token = 0; token < tokens.stream.tokens; ++token) {
    if (tokens.mask.IsActive(token)) {
      ++active;
      continue;
    }
    LeaveOut(tokens.stream, tokens.mask, token, ffn.hidden, tokens.y);
    if (tokens.kept != nullptr) tokens.kept[token] = 0;
  }
  return active;
}

}  // namespace

void RunGatedFfn(const GatedFfn& ffn, const GatedFfnTokens& tokens, Scratch& scratch, const Parallel& parallel) {
  const size_t active = LeaveOutInactive(ffn, tokens);
  if (active == 0) return;
  const GatedFfnJob job(ffn, tokens, active, scratch, parallel.workers);
  job.Run(parallel, [&job, work = WorkerOf(ffn)](size_t) { work(job); });
}

}  // namespace lacuna
