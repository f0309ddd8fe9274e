#include "binding/sampler.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace lacuna::binding {
namespace {

// ln 2 in two parts. The 20 last bits of the first are zero, so its product with an exponent of 11 bits is exact.
constexpr double kLog2E = 0x1.71547652b82fep0;
constexpr double kLn2High = 0x1.62e42fefp-1;
constexpr double kLn2Low = 0x1.473de6af278edp-34;
constexpr double kLeastExponent = -708;
// Taylor's series up to r^13 / 13!. For |r| <= ln 2 / 2 the rest is below 2^-57.
constexpr int kTerms = 13;

constexpr std::array<double, kTerms + 1> InverseFactorials() {
  std::array<double, kTerms + 1> inverse{};
  double factorial = 1;
  for (int i = 0; i <= kTerms; ++i) {
    if (i > 0) factorial *= i;
    inverse[i] = 1 / factorial;
  }
  return inverse;
}

float Likeliest(std::span<const float> logits, int64_t& token) {
  size_t best = 0;
  bool is_number = true;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
    is_number &= logits[i] == logits[i];
  }
  if (!is_number || !std::isfinite(logits[best])) throw std::runtime_error("the model's logits are not finite");
  token = static_cast<int64_t>(best);
  return logits[best];
}

constexpr auto kLikelier = [](const auto& a, const auto& b) {
  return a.probability > b.probability || (a.probability == b.probability && a.token < b.token);
};

}  // namespace

double Exponential(double x) {
  static constexpr auto kInverse = InverseFactorials();
  if (!(x >= kLeastExponent)) return 0;
  const double exponent = std::floor(x * kLog2E + 0.5);
  const double rest = x - exponent * kLn2High - exponent * kLn2Low;
  double series = kInverse[kTerms];
  for (int i = kTerms - 1; i >= 0; --i) series = series * rest + kInverse[i];
  return std::ldexp(series, static_cast<int>(exponent));
}

// The golden ratio's bits keep the state from being all zero, the one state that xorshift never leaves.
Random::Random(std::array<uint32_t, 2> seed) : state_{seed[0], seed[1], 0x9e3779b9, 0x7f4a7c15} {
  // Similar seeds give similar numbers at first.
  for (int i = 0; i < 32; ++i) Next();
}

double Random::Next() {
  const uint32_t mixed = state_[0] ^ (state_[0] << 11);
  const uint32_t last = state_[3];
  state_ = {state_[1], state_[2], last, last ^ (last >> 19) ^ mixed ^ (mixed >> 8)};
  return state_[3] / 4294967296.0;
}

Sampler::Sampler(const SamplingOptions& options, size_t vocab) : options_(options), random_(options.seed) {
  if (options.repetition_penalty != 1) seen_.resize(vocab);
}

void Sampler::See(int64_t token) {
  if (seen_.empty() || seen_[static_cast<size_t>(token)]) return;
  seen_[static_cast<size_t>(token)] = true;
  distinct_.push_back(token);
}

size_t Sampler::Wanted() const {
  const size_t likeliest = options_.temperature == 0 ? 1 : options_.top_k;
  // A penalty that raises logits may raise any token's.
  if (likeliest == 0 || options_.repetition_penalty < 1) return 0;
  // A penalty that lowers logits lowers this many.
  return likeliest + distinct_.size();
}

int64_t Sampler::Next(std::span<const float> given) {
  const std::span<const float> logits = Penalised(given);
  int64_t likeliest = 0;
  const float top = Likeliest(logits, likeliest);
  if (options_.temperature == 0) return likeliest;
  if (options_.top_k > 0 && options_.top_k < logits.size()) {
    FillLikeliest(logits, top);
  } else {
    FillAll(logits, top);
    if (options_.top_p == 1 && options_.min_p == 0) return DrawUnsorted();
    std::sort(candidates_.begin(), candidates_.end(), kLikelier);
  }
  KeepNucleus();
  return DrawSorted();
}

std::span<const float> Sampler::Penalised(std::span<const float> logits) {
  if (options_.repetition_penalty == 1) return logits;
  penalised_.assign(logits.begin(), logits.end());
  const double penalty = options_.repetition_penalty;
  for (const int64_t token : distinct_) {
    const double logit = logits[static_cast<size_t>(token)];
    penalised_[static_cast<size_t>(token)] = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
  }
  return penalised_;
}

void Sampler::Fill(std::span<const float> logits, double top, float least_logit, double least_probability) {
  candidates_.clear();
  for (size_t token = 0; token < logits.size(); ++token) {
    if (logits[token] < least_logit) continue;
    const double probability = Exponential((logits[token] - top) / options_.temperature);
    if (probability >= least_probability) candidates_.push_back({static_cast<uint32_t>(token), probability});
  }
}

void Sampler::FillLikeliest(std::span<const float> logits, double top) {
  largest_.assign(logits.begin(), logits.end());
  const auto kth = largest_.begin() + static_cast<ptrdiff_t>(options_.top_k - 1);
  std::nth_element(largest_.begin(), kth, largest_.end(), std::greater<float>());
  Fill(logits, top, *kth, 0);
  std::sort(candidates_.begin(), candidates_.end(), kLikelier);
  candidates_.resize(options_.top_k);
  total_ = 0;
  for (const Candidate& candidate : candidates_) total_ += candidate.probability;
}

void Sampler::FillAll(std::span<const float> logits, double top) {
  total_ = 0;
  for (const float logit : logits) total_ += Exponential((logit - top) / options_.temperature);
  // All tokens with a share below (1 - top_p) / n together have less than 1 - top_p, so the others reach top_p without
  // them.
  const double negligible = (1 - options_.top_p) / static_cast<double>(logits.size()) * total_;
  Fill(logits, top, -INFINITY, std::max(negligible, options_.min_p));
}

void Sampler::KeepNucleus() {
  size_t count = candidates_.size();
  if (options_.top_p < 1) {
    double held = 0;
    for (size_t i = 0; i < candidates_.size(); ++i) {
      held += candidates_[i].probability;
      if (held < options_.top_p * total_) continue;
      count = i + 1;
      break;
    }
  }
  while (candidates_[count - 1].probability < options_.min_p) --count;
  candidates_.resize(count);
}

int64_t Sampler::DrawSorted() {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.probability;
  double left = random_.Next() * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.probability;
    if (left < 0) return candidate.token;
  }
  return candidates_.back().token;
}

// The same candidates in the same order, but sorted only as far as the draw goes.
int64_t Sampler::DrawUnsorted() {
  const auto later = [](const Candidate& a, const Candidate& b) { return kLikelier(b, a); };
  double left = random_.Next() * total_;
  auto end = candidates_.end();
  std::make_heap(candidates_.begin(), end, later);
  while (true) {
    std::pop_heap(candidates_.begin(), end, later);
    --end;
    left -= end->probability;
    if (left < 0 || end == candidates_.begin()) return end->token;
  }
}

}  // namespace lacuna::binding
