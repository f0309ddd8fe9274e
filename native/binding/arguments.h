// Checked arguments from JavaScript. A wrong one gives a TypeError or RangeError that names the argument.
#ifndef LACUNA_BINDING_ARGUMENTS_H_
#define LACUNA_BINDING_ARGUMENTS_H_

#include <napi.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace lacuna::binding {

inline bool IsArray(const Napi::Value& value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

inline Napi::Object ObjectOf(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) throw Napi::TypeError::New(value.Env(), std::string(name) + " must be an object");
  return value.As<Napi::Object>();
}

inline std::optional<std::string> StringOf(const Napi::Object& options, const char* name) {
  const Napi::Value value = options.Get(name);
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsString()) throw Napi::TypeError::New(options.Env(), std::string(name) + " must be a string");
  return value.As<Napi::String>();
}

inline std::string NeededString(const Napi::Object& options, const char* name) {
  std::optional<std::string> value = StringOf(options, name);
  if (!value) throw Napi::TypeError::New(options.Env(), std::string(name) + " must be a string");
  return *value;
}

// A number from `least` to `most`; `fallback` if it is missing.
inline double NumberOf(const Napi::Object& options, const char* name, double fallback, double least, double most) {
  const Napi::Value value = options.Get(name);
  if (value.IsUndefined()) return fallback;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : std::numeric_limits<double>::quiet_NaN();
  if (!(number >= least && number <= most))
    throw Napi::RangeError::New(options.Env(), std::string(name) + " is out of range or no number");
  return number;
}

// Threads of a session, as MOST_THREADS in src/core/limits.ts.
constexpr double kMostThreads = 256;

// Larger JavaScript numbers are not exact integers.
constexpr double kMostInteger = 9007199254740991.0;

// An integer from `least` on. A value larger than any count, such as infinity, becomes the largest one.
inline size_t CountOf(const Napi::Object& options, const char* name, size_t fallback, size_t least) {
  const Napi::Value value = options.Get(name);
  if (value.IsUndefined()) return fallback;
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= static_cast<double>(least)) || (number <= kMostInteger && number != std::floor(number)))
    throw Napi::RangeError::New(options.Env(), std::string(name) + " must be an integer of at least " + std::to_string(least));
  return number > kMostInteger ? SIZE_MAX : static_cast<size_t>(number);
}

inline std::vector<int64_t> TokensOf(const Napi::Value& value, const char* name, size_t vocab) {
  if (!IsArray(value, napi_bigint64_array))
    throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a BigInt64Array");
  const auto array = value.As<Napi::BigInt64Array>();
  std::vector<int64_t> tokens(array.Data(), array.Data() + array.ElementLength());
  for (const int64_t token : tokens)
    if (token < 0 || static_cast<uint64_t>(token) >= vocab)
      throw Napi::RangeError::New(value.Env(), "there is no token " + std::to_string(token) + " of " + std::to_string(vocab));
  return tokens;
}

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_ARGUMENTS_H_
