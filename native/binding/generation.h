// Continues texts by a decoder and samplers. The same as src/runtime/generate.ts, for several rows at once.
#ifndef LACUNA_BINDING_GENERATION_H_
#define LACUNA_BINDING_GENERATION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "binding/decoder.h"
#include "binding/sampler.h"

namespace lacuna::binding {

// Why a text ended: an end token, the maximum number of tokens, or a full context.
enum class StopReason { kEos, kLength, kContext };
std::string_view NameOf(StopReason reason);

struct GenerationRow {
  // At least one token, all of them in the vocabulary.
  std::vector<int64_t> prompt;
  SamplingOptions sampling;
};

struct GenerationOptions {
  std::vector<GenerationRow> rows;
  // Tokens that end a text. They are not part of it.
  std::vector<int64_t> eos;
  size_t max_tokens = 0;
  // Number of tokens that the model can attend to, prompt included.
  size_t context_length = SIZE_MAX;
  // Number of tokens of a prompt that are fed at a time.
  size_t prefill_tokens = 512;
};

using OnToken = std::function<void(size_t row, int64_t token)>;

// Restarts the decoder, gives out each row's tokens as soon as they are known, and says why each row ended. Up to the
// rounding of products of more rows, a row's text is the one that it would have alone. Throws as Decoder does. Cancel
// ends it soon.
std::vector<StopReason> Generate(Decoder& decoder, const GenerationOptions& options, const OnToken& on_token);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_GENERATION_H_
