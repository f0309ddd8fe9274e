// A decoder whose keys and values stay where they are: every step appends to them in place.
//
// It takes what our graphs take: input_ids, attention_mask and caches, and nothing else.
//
// GroupQueryAttention writes new keys and values into the past it is given when past and present are one memory, and
// reads as many of them as the attention mask counts. So the caches are tensors of a capacity, [rows, heads, capacity, head],
// bound once as input and as output; a step binds its tokens and its mask, and copies nothing.
//
// Rows lie one after the other. GroupQueryAttention refuses several tokens after a past in a batch above 1, so prompts are
// fed row by row, each into its own part of the caches, and rows are decoded together one token each. A row that ends makes
// room: the last one moves into its place.
//
// The decoder says to operators which logits it will read (ops/wanted_logits.h): of a prompt, the last token's.
#ifndef LACUNA_BINDING_DECODER_H_
#define LACUNA_BINDING_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "binding/runtime.h"
#include "ops/wanted_logits.h"

namespace lacuna::binding {

// A pair of graph input and output that is one cache.
struct CacheSpec {
  std::string past;
  std::string present;
  ONNXTensorElementDataType type;
  int64_t heads;
  int64_t head_size;
};

struct DecoderOptions {
  std::string model;
  // Library of operators to register; none when empty.
  std::string operators;
  // 0: ONNX Runtime's own choice.
  int threads = 0;
};

// What a decoder's graph says of itself.
struct Signature {
  int64_t vocab = 0;
  std::vector<CacheSpec> caches;
};

class Decoder {
 public:
  // Throws ort::Refusal when the model cannot be opened or is no decoder that this can feed.
  Decoder(const Runtime& runtime, const DecoderOptions& options);

  size_t rows() const { return lengths_.size(); }
  // Tokens that a row's caches hold.
  size_t length(size_t row = 0) const { return lengths_[row]; }
  size_t vocab() const { return static_cast<size_t>(signature_.vocab); }

  // From now on so many rows, at least one, all of them empty.
  void Restart(size_t rows);
  // No row will be longer: caches that grow need not have room for more.
  void Limit(size_t tokens) { limit_ = tokens; }

  // Appends `tokens` to a row; `logits` gets those of the last one, [vocab], or of each, [tokens, vocab], by its size; none where it
  // is empty. The caches grow as needed; after a failure they hold what they held. Throws ort::Refusal.
  void Feed(size_t row, std::span<const int64_t> tokens, std::span<float> logits);
  // Appends one token to each row; the logits, [rows, vocab], are valid until the next call. With `largest` above 0 a row's so
  // many largest, and those that equal the least of them, are as they are with 0; others may be less.
  std::span<const float> Step(std::span<const int64_t> tokens, size_t largest = 0);

  // Forgets all tokens of the first row after the first `length`; those that are there can be fed again from here.
  void Rewind(size_t length);
  // Takes a row out; the last one gets its number.
  void Drop(size_t row);

  // Makes a call that is running end soon, with a failure, until Resume. Both may be called from any thread.
  void Cancel();
  void Resume();

 private:
  // Zeros that take no memory before they are written.
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  using Memory = std::unique_ptr<std::byte, Free>;
  // Rows whose caches are bound.
  struct View {
    size_t first = 0;
    size_t count = 0;
    bool operator==(const View&) const = default;
  };

  using WantLogits = decltype(LacunaWantLogits)*;

  Owned<OrtValue> Wrap(void* data, size_t bytes, ONNXTensorElementDataType type, std::span<const int64_t> shape) const;
  size_t RowBytes(const CacheSpec& spec, size_t capacity) const;
  size_t CacheBytes(size_t capacity) const;
  Memory Allocate(size_t bytes, size_t capacity) const;
  void Reserve(size_t length);
  void Bind(const char* input, const OrtValue* value);
  void BindCaches(View view);
  void Run(View view, std::span<const int64_t> tokens, std::span<const int64_t> mask, std::span<float> logits,
           WantedLogits wanted);

  const OrtApi& api_;
  Owned<OrtSession> session_;
  // Null where the operators have no such thing.
  WantLogits want_logits_;
  Signature signature_;
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtIoBinding> binding_;
  Owned<OrtRunOptions> run_options_;
  size_t limit_ = SIZE_MAX;
  size_t capacity_ = 0;
  // Rows that the caches have room for.
  size_t most_rows_ = 0;
  std::vector<size_t> lengths_ = {0};
  std::vector<Memory> caches_;
  View bound_;
  std::vector<Owned<OrtValue>> bound_values_;
  std::vector<int64_t> mask_;
  std::vector<float> logits_;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_DECODER_H_
