// A decoder with caches that stay in place: every step appends to them.
//
// Its inputs are those of our graphs: input_ids, attention_mask and caches, and nothing else.
//
// If past and present are one buffer, GroupQueryAttention writes new keys and values into the past, and reads as many
// of them as the attention mask counts. So the caches are tensors with spare capacity, [rows, heads, capacity, head],
// bound once as input and as output. A step binds its tokens and its mask, and copies nothing.
//
// Rows are stored one after the other. GroupQueryAttention refuses several tokens after a past in a batch above 1. So
// prompts are fed row by row, each into its own part of the caches, and rows are decoded together, one token each. When
// a row ends, the last row takes its place.
//
// The decoder tells the operators which logits it will read (ops/wanted_logits.h): for a prompt, those of the last
// token. It also tells them the layout of its caches (ops/cache_format.h). Those in fp16 or int8, and those with sketches of their
// keys, have the same declared shape, with another capacity.
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
#include "ops/cache_format.h"
#include "ops/wanted_logits.h"

namespace lacuna::binding {

// An input and an output of the graph that form one cache.
struct CacheSpec {
  std::string past;
  std::string present;
  ONNXTensorElementDataType type;
  int64_t heads;
  int64_t head_size;
};

struct DecoderOptions {
  std::string model;
  // Library of operators to register; none if empty.
  std::string operators;
  // 0: ONNX Runtime chooses.
  int threads = 0;
  // One that is not plain needs a library that has it, and a model whose caches NormAttention alone reads: nothing here checks
  // that.
  CacheLayout cache;
};

// What a decoder's graph says about itself.
struct Signature {
  int64_t vocab = 0;
  std::vector<CacheSpec> caches;
};

class Decoder {
 public:
  // Throws ort::Refusal if the model cannot be opened or is not a decoder with these inputs.
  Decoder(const Runtime& runtime, const DecoderOptions& options);

  size_t rows() const { return lengths_.size(); }
  // Number of tokens in a row's caches.
  size_t length(size_t row = 0) const { return lengths_[row]; }
  size_t vocab() const { return static_cast<size_t>(signature_.vocab); }

  // Sets the number of rows, at least one. All are then empty.
  void Restart(size_t rows);
  // The maximum length of a row. Caches that grow need no more room.
  void Limit(size_t tokens) { limit_ = tokens; }

  // Appends `tokens` to a row. `logits` gets those of the last token, [vocab], or of each, [tokens, vocab], by its
  // size; none if it is empty. The caches grow as needed. After a failure they hold what they held before. Throws
  // ort::Refusal.
  void Feed(size_t row, std::span<const int64_t> tokens, std::span<float> logits);
  // Appends one token to each row. The logits, [rows, vocab], are valid until the next call. With `largest` above 0,
  // only that many largest logits of a row, and those that equal the least of them, are exact; others may be smaller.
  std::span<const float> Step(std::span<const int64_t> tokens, size_t largest = 0);

  // Forgets the first row's tokens after the first `length`. The following tokens can be fed again from there.
  void Rewind(size_t length);
  // Removes a row. The last row gets its number.
  void Drop(size_t row);

  // Makes a running call end soon with a failure, until Resume. Both may be called from any thread.
  void Cancel();
  void Resume();

 private:
  // Zeros that take no memory until they are written, from the start of a cache line: vectors that lie across two lines take
  // twice as long to load.
  class Memory {
   public:
    Memory() = default;
    // Null if there is not enough.
    explicit Memory(size_t bytes);
    std::byte* get() const { return start_; }

   private:
    struct Free {
      void operator()(std::byte* block) const { std::free(block); }
    };
    std::unique_ptr<std::byte, Free> block_;
    std::byte* start_ = nullptr;
  };
  // Rows with bound caches.
  struct View {
    size_t first = 0;
    size_t count = 0;
    bool operator==(const View&) const = default;
  };

  using WantLogits = decltype(LacunaWantLogits)*;
  using SayCacheLayout = decltype(LacunaCacheLayout)*;

  Owned<OrtValue> Wrap(void* data, size_t bytes, ONNXTensorElementDataType type, std::span<const int64_t> shape) const;
  size_t DeclaredCapacity(const CacheSpec& spec, size_t capacity) const;
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
  // Null if the operators do not export them.
  WantLogits want_logits_;
  SayCacheLayout say_cache_layout_;
  CacheLayout cache_layout_;
  Signature signature_;
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtIoBinding> binding_;
  Owned<OrtRunOptions> run_options_;
  size_t limit_ = SIZE_MAX;
  size_t capacity_ = 0;
  // Rows that fit into the caches.
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
