// Picks the next token from logits. The same as src/runtime/sample.ts, bit for bit, so a seed gives the same text in
// both.
//
// Everything is computed in double precision from plain sums and products in a fixed order. The file is compiled
// without fused multiplications, which would round differently from JavaScript.
#ifndef LACUNA_BINDING_SAMPLER_H_
#define LACUNA_BINDING_SAMPLER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lacuna::binding {

struct SamplingOptions {
  // 0 takes the likeliest token. Above 0, logits are divided by it before drawing.
  double temperature = 0;
  // Draws among this many likeliest tokens; 0: among all.
  size_t top_k = 0;
  // Draws among the fewest likeliest tokens that together have at least this share of probability.
  double top_p = 1;
  // Draws among tokens with at least this share of the likeliest token's probability.
  double min_p = 0;
  // Logits of earlier tokens are divided (if positive) or multiplied (if negative) by it.
  double repetition_penalty = 1;
  // Lower and upper 32 bits.
  std::array<uint32_t, 2> seed = {0, 0};
};

// exp(x) for x <= 0, within 2 units in the last place; 0 below -708, where results would be denormal.
double Exponential(double x);

// Uniform numbers from [0, 1): xorshift with 128 bits of state (Marsaglia 2003), 32 bits for each number.
class Random {
 public:
  explicit Random(std::array<uint32_t, 2> seed);
  double Next();

 private:
  std::array<uint32_t, 4> state_;
};

// One for each text: it holds the state of the random numbers and the tokens that occurred.
class Sampler {
 public:
  Sampler(const SamplingOptions& options, size_t vocab);

  // Records a token of the text, from the prompt or drawn. Only the repetition penalty uses it.
  void See(int64_t token);
  // The next token depends at most on this many of the largest logits and those that equal the least of them; 0: on
  // all.
  size_t Wanted() const;
  // Throws std::runtime_error if logits are NaN.
  int64_t Next(std::span<const float> logits);

 private:
  struct Candidate {
    uint32_t token;
    // Relative to the likeliest token's.
    double probability;
  };

  std::span<const float> Penalised(std::span<const float> logits);
  void FillLikeliest(std::span<const float> logits, double top);
  void FillAll(std::span<const float> logits, double top);
  void Fill(std::span<const float> logits, double top, float least_logit, double least_probability);
  void KeepNucleus();
  int64_t DrawSorted();
  int64_t DrawUnsorted();

  SamplingOptions options_;
  Random random_;
  std::vector<bool> seen_;
  std::vector<int64_t> distinct_;
  // Kept from call to call, so that the steady state allocates nothing.
  std::vector<float> penalised_;
  std::vector<float> largest_;
  std::vector<Candidate> candidates_;
  // Sum over all tokens that may be drawn, including those that are not in `candidates_`.
  double total_ = 0;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_SAMPLER_H_
