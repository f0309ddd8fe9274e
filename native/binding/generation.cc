#include "binding/generation.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

namespace lacuna::binding {
namespace {

// A row that continues. Its place in the list is its row in the decoder.
struct Running {
  size_t row;
  Sampler sampler;
  // Tokens so far, prompt included, and the number of generated ones.
  size_t seen;
  size_t made;
  int64_t next;
};

// Draws the next token and gives it out. Says why the row ends, if it does.
std::optional<StopReason> Advance(Running& running, std::span<const float> logits, const GenerationOptions& options,
                                  const OnToken& on_token) {
  running.next = running.sampler.Next(logits);
  if (std::find(options.eos.begin(), options.eos.end(), running.next) != options.eos.end()) return StopReason::kEos;
  on_token(running.row, running.next);
  running.sampler.See(running.next);
  ++running.seen;
  if (++running.made == options.max_tokens) return StopReason::kLength;
  // The last token of a full context is given out, but there is no room to feed it.
  if (running.seen > options.context_length) return StopReason::kContext;
  return std::nullopt;
}

// How many of the largest logits all rows together need; 0: all.
size_t WantedBy(const std::vector<Running>& rows) {
  size_t most = 0;
  for (const Running& row : rows) {
    const size_t wanted = row.sampler.Wanted();
    if (wanted == 0) return 0;
    most = std::max(most, wanted);
  }
  return most;
}

// In chunks of about equal length: if a prompt runs dense, a last chunk of one token would not.
void Prefill(Decoder& decoder, size_t place, std::span<const int64_t> prompt, size_t most, std::span<float> logits) {
  const size_t parts = std::max<size_t>(1, (prompt.size() + most - 1) / most);
  const size_t chunk = (prompt.size() + parts - 1) / parts;
  while (prompt.size() > chunk) {
    decoder.Feed(place, prompt.first(chunk), {});
    prompt = prompt.subspan(chunk);
  }
  decoder.Feed(place, prompt, logits);
}

// Whatever happens, the decoder ends with one empty row.
struct Restarted {
  ~Restarted() { decoder.Restart(1); }
  Decoder& decoder;
};

size_t LongestText(const GenerationOptions& options) {
  size_t longest = 0;
  for (const GenerationRow& row : options.rows) longest = std::max(longest, row.prompt.size());
  const size_t room = SIZE_MAX - longest;
  return std::min(longest + std::min(room, options.max_tokens), options.context_length);
}

}  // namespace

std::string_view NameOf(StopReason reason) {
  switch (reason) {
    case StopReason::kEos:
      return "eos";
    case StopReason::kLength:
      return "length";
    case StopReason::kContext:
      return "context";
  }
  return "";
}

std::vector<StopReason> Generate(Decoder& decoder, const GenerationOptions& options, const OnToken& on_token) {
  std::vector<StopReason> reasons(options.rows.size(), StopReason::kLength);
  if (options.max_tokens == 0 || options.rows.empty()) return reasons;
  const Restarted restarted{decoder};
  decoder.Restart(options.rows.size());
  decoder.Limit(LongestText(options));
  std::vector<Running> running;
  running.reserve(options.rows.size());
  // A row that ends is removed from both lists.
  const auto advance = [&](size_t place, std::span<const float> logits) {
    const std::optional<StopReason> reason = Advance(running[place], logits, options, on_token);
    if (!reason) return;
    reasons[running[place].row] = *reason;
    decoder.Drop(place);
    if (place + 1 < running.size()) running[place] = std::move(running.back());
    running.pop_back();
  };
  std::vector<float> logits(decoder.vocab());
  for (size_t row = 0; row < options.rows.size(); ++row) {
    const auto& [prompt, sampling] = options.rows[row];
    running.push_back({row, Sampler(sampling, decoder.vocab()), prompt.size(), 0, 0});
    for (const int64_t token : prompt) running.back().sampler.See(token);
    Prefill(decoder, running.size() - 1, prompt, options.prefill_tokens, logits);
    advance(running.size() - 1, logits);
  }
  std::vector<int64_t> tokens;
  while (!running.empty()) {
    tokens.clear();
    for (const Running& row : running) tokens.push_back(row.next);
    const std::span<const float> stepped = decoder.Step(tokens, WantedBy(running));
    // From the last row on, because a row that ends is replaced by a later one, which has been handled.
    for (size_t place = running.size(); place-- > 0;) advance(place, stepped.subspan(place * decoder.vocab(), decoder.vocab()));
  }
  return reasons;
}

}  // namespace lacuna::binding
