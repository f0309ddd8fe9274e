// A decoder whose keys and values stay where they are: every step appends to them in place.
//
// It takes what our graphs take: input_ids, attention_mask and caches, and nothing else.
//
// GroupQueryAttention writes new keys and values into the past it is given when past and present are one memory, and
// reads as many of them as the attention mask counts. So the caches are tensors of a capacity, [1, heads, capacity, head],
// bound once as input and as output; a step binds its tokens and its mask, and copies nothing.
#ifndef LACUNA_BINDING_DECODER_H_
#define LACUNA_BINDING_DECODER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "binding/runtime.h"

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

  // Tokens that the caches hold.
  size_t length() const { return length_; }
  size_t vocab() const { return static_cast<size_t>(signature_.vocab); }

  // Appends `tokens`; `logits` gets those of the last one, [vocab], unless it is empty. The caches grow as needed; after a
  // failure they hold what they held. Throws ort::Refusal, std::bad_alloc.
  void Feed(std::span<const int64_t> tokens, std::span<float> logits);

  // Forgets all tokens after the first `length`; those that are there can be fed again from here.
  void Rewind(size_t length);

  // Makes a Feed that is running end soon, with a failure. May be called from any thread.
  void Cancel();

 private:
  struct Cache {
    std::vector<std::byte> data;
    Owned<OrtValue> value;
  };

  Owned<OrtValue> Wrap(void* data, size_t bytes, ONNXTensorElementDataType type, std::span<const int64_t> shape) const;
  void Reserve(size_t length);
  void Bind(const char* input, const OrtValue* value);

  const OrtApi& api_;
  Owned<OrtSession> session_;
  Signature signature_;
  Owned<OrtMemoryInfo> memory_;
  Owned<OrtIoBinding> binding_;
  Owned<OrtRunOptions> run_options_;
  size_t capacity_ = 0;
  size_t length_ = 0;
  std::vector<Cache> caches_;
  std::vector<int64_t> mask_;
  std::vector<float> logits_;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_DECODER_H_
