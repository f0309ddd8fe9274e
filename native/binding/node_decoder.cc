#include "binding/node_decoder.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "binding/arguments.h"
#include "binding/decoder.h"
#include "binding/generation.h"
#include "binding/handle.h"

namespace lacuna::binding {
namespace {

using DecoderHandle = Handle<Decoder>;

SamplingOptions SamplingOf(const Napi::Object& options) {
  constexpr double kLargest = std::numeric_limits<double>::max();
  constexpr double kSmallest = std::numeric_limits<double>::denorm_min();
  SamplingOptions sampling;
  sampling.temperature = NumberOf(options, "temperature", 0, 0, kLargest);
  sampling.top_k = CountOf(options, "topK", 0, 1);
  sampling.top_p = NumberOf(options, "topP", 1, kSmallest, 1);
  sampling.min_p = NumberOf(options, "minP", 0, 0, 1);
  sampling.repetition_penalty = NumberOf(options, "repetitionPenalty", 1, kSmallest, kLargest);
  return sampling;
}

// Prompts, and two words of a seed for each. All use the same sampling options.
std::vector<GenerationRow> RowsOf(const Napi::Object& options, size_t vocab) {
  const Napi::Env env = options.Env();
  const Napi::Value prompts = options.Get("prompts");
  const Napi::Value seeds = options.Get("seeds");
  if (!prompts.IsArray()) throw Napi::TypeError::New(env, "prompts must be an array");
  const auto list = prompts.As<Napi::Array>();
  if (!IsArray(seeds, napi_uint32_array) || seeds.As<Napi::Uint32Array>().ElementLength() != 2 * size_t{list.Length()})
    throw Napi::TypeError::New(env, "seeds must be a Uint32Array with two for each prompt");
  const SamplingOptions sampling = SamplingOf(options);
  std::vector<GenerationRow> rows;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    GenerationRow row = {TokensOf(list.Get(i), "each prompt", vocab), sampling};
    if (row.prompt.empty()) throw Napi::RangeError::New(env, "a prompt must have at least one token");
    const auto words = seeds.As<Napi::Uint32Array>();
    row.sampling.seed = {words[2 * size_t{i}], words[2 * size_t{i} + 1]};
    rows.push_back(std::move(row));
  }
  return rows;
}

GenerationOptions GenerationOf(const Napi::Object& options, size_t vocab) {
  GenerationOptions generation;
  generation.rows = RowsOf(options, vocab);
  generation.eos = TokensOf(options.Get("eos"), "eos", SIZE_MAX);
  generation.max_tokens = CountOf(options, "maxTokens", 0, 0);
  generation.context_length = CountOf(options, "contextLength", SIZE_MAX, 1);
  generation.prefill_tokens = CountOf(options, "prefillTokens", generation.prefill_tokens, 1);
  for (const GenerationRow& row : generation.rows)
    if (row.prompt.size() > generation.context_length)
      throw Napi::RangeError::New(options.Env(), "a prompt has " + std::to_string(row.prompt.size()) +
                                                     " tokens, and the model's context is " +
                                                     std::to_string(generation.context_length));
  return generation;
}

CacheFormat CacheFormatOf(Napi::Env env, const std::string& name) {
  if (name == "fp32") return CacheFormat::kFp32;
  if (name == "fp16") return CacheFormat::kFp16;
  if (name == "int8") return CacheFormat::kInt8;
  throw Napi::RangeError::New(env, "caches are fp32, fp16 or int8, not " + name);
}

class NativeDecoder : public Napi::ObjectWrap<NativeDecoder> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NativeDecoder",
                       {
                           InstanceMethod<&NativeDecoder::Feed>("feed"),
                           InstanceMethod<&NativeDecoder::Generate>("generate"),
                           InstanceMethod<&NativeDecoder::Cancel>("cancel"),
                           InstanceMethod<&NativeDecoder::Rewind>("rewind"),
                           InstanceMethod<&NativeDecoder::Dispose>("dispose"),
                           InstanceAccessor<&NativeDecoder::Length>("length"),
                           InstanceAccessor<&NativeDecoder::Vocab>("vocab"),
                       });
  }

  explicit NativeDecoder(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeDecoder>(info) {
    if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "decoders are made by openDecoder()");
    handle_ = *info[0].As<Napi::External<std::shared_ptr<DecoderHandle>>>().Data();
  }

 private:
  // feed(tokens: BigInt64Array, logits?: Float32Array, oneByOne?: boolean): Promise<void>. Steps are those of greedy
  // decoding. Logits are the last token's, or each token's if there is room for them.
  Napi::Value Feed(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Decoder& decoder = handle_->Idle(env);
    const size_t vocab = decoder.vocab();
    const bool is_wanted = !info[1].IsUndefined();
    const auto tokens = std::make_shared<std::vector<int64_t>>(TokensOf(info[0], "tokens", vocab));
    const bool is_stepped = info[2].ToBoolean();
    const size_t given = IsArray(info[1], napi_float32_array) ? info[1].As<Napi::Float32Array>().ElementLength() : 0;
    // Steps give only the last token's logits.
    const bool is_each = !is_stepped && given == tokens->size() * vocab;
    if (is_wanted && given != vocab && !is_each)
      throw Napi::TypeError::New(env, "logits must be a Float32Array of " + std::to_string(vocab) + ", or of as many a token");
    const auto logits = std::make_shared<std::vector<float>>(given);
    const auto target = std::make_shared<Napi::ObjectReference>();
    if (is_wanted) *target = Napi::Persistent(info[1].As<Napi::Object>());
    return handle_->Run(
        env,
        [&decoder, tokens, is_stepped, logits] {
          std::span<const int64_t> left = *tokens;
          for (; is_stepped && left.size() > 1; left = left.subspan(1)) decoder.Step(left.first(1), 1);
          decoder.Feed(0, left, *logits);
        },
        [logits, target](Napi::Env e) {
          if (target->IsEmpty()) return e.Undefined();
          auto out = target->Value().As<Napi::Float32Array>();
          if (out.ElementLength() != logits->size()) throw Napi::TypeError::New(e, "the array for logits was detached");
          std::copy(logits->begin(), logits->end(), out.Data());
          return e.Undefined();
        });
  }

  // generate({ prompts, seeds, eos, maxTokens, … }, onToken: (row, token, milliseconds) => void): Promise<('eos'|'length'|'context')[]>
  Napi::Value Generate(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Decoder& decoder = handle_->Idle(env);
    const auto options =
        std::make_shared<GenerationOptions>(GenerationOf(ObjectOf(info[0], "options"), decoder.vocab()));
    if (!info[1].IsFunction()) throw Napi::TypeError::New(env, "onToken must be a function");
    const auto on_token = std::make_shared<Napi::FunctionReference>(Napi::Persistent(info[1].As<Napi::Function>()));
    const auto reasons = std::make_shared<std::vector<StopReason>>();
    return handle_->Run(
        env,
        // Pointers: `finish` below holds the JavaScript values, and comes after the last token.
        [&decoder, options, reasons, handle = handle_.get(), call = on_token.get()] {
          const auto started = std::chrono::steady_clock::now();
          *reasons = binding::Generate(decoder, *options, [handle, call, started](size_t row, int64_t token) {
            const std::chrono::duration<double, std::milli> after = std::chrono::steady_clock::now() - started;
            handle->Send([call, row, token, after](Napi::Env e) {
              call->Call({Napi::Number::New(e, static_cast<double>(row)), Napi::Number::New(e, static_cast<double>(token)),
                          Napi::Number::New(e, after.count())});
            });
          });
        },
        [reasons, on_token](Napi::Env e) -> Napi::Value {
          auto list = Napi::Array::New(e, reasons->size());
          for (uint32_t i = 0; i < reasons->size(); ++i) list.Set(i, std::string(NameOf((*reasons)[i])));
          return list;
        });
  }

  // cancel(): a running call fails soon.
  Napi::Value Cancel(const Napi::CallbackInfo& info) {
    handle_->Interrupt();
    return info.Env().Undefined();
  }

  Napi::Value Rewind(const Napi::CallbackInfo& info) {
    Decoder& decoder = handle_->Idle(info.Env());
    const int64_t length = info[0].IsNumber() ? info[0].As<Napi::Number>().Int64Value() : -1;
    if (length < 0 || static_cast<size_t>(length) > decoder.length())
      throw Napi::RangeError::New(info.Env(), "a length from 0 to " + std::to_string(decoder.length()) + " is wanted");
    decoder.Rewind(static_cast<size_t>(length));
    return info.Env().Undefined();
  }

  Napi::Value Length(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(handle_->Idle(info.Env()).length()));
  }

  Napi::Value Vocab(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(handle_->Idle(info.Env()).vocab()));
  }

  Napi::Value Dispose(const Napi::CallbackInfo& info) { return handle_->Dispose(info.Env()); }

  std::shared_ptr<DecoderHandle> handle_;
};

}  // namespace

void ExportDecoder(Napi::Env env, Napi::Object exports) {
  const auto constructor = std::make_shared<Napi::FunctionReference>(Napi::Persistent(NativeDecoder::Define(env)));
  const auto open = [constructor](const Napi::CallbackInfo& info) -> Napi::Value {
    const auto given = ObjectOf(info[0], "options");
    const std::string runtime = NeededString(given, "runtime");
    DecoderOptions options;
    options.model = NeededString(given, "model");
    options.operators = StringOf(given, "operators").value_or("");
    options.threads = static_cast<int>(NumberOf(given, "threads", 0, 1, kMostThreads));
    options.cache.format = CacheFormatOf(info.Env(), StringOf(given, "cache").value_or("fp32"));
    options.cache.attended = CountOf(given, "attended", 0, kLeastAttended);
    return DecoderHandle::Open(
        info.Env(), "decoder", [runtime, options] { return std::make_unique<Decoder>(Runtime::Open(runtime), options); },
        [constructor](Napi::Env e, const std::shared_ptr<DecoderHandle>& handle) -> Napi::Value {
          auto shared = handle;
          return constructor->New({Napi::External<std::shared_ptr<DecoderHandle>>::New(e, &shared)});
        });
  };
  exports.Set("openDecoder", Napi::Function::New(env, open, "openDecoder"));
}

}  // namespace lacuna::binding
