// ONNX Runtime found at run time: the host's library, which is never linked.
#ifndef LACUNA_BINDING_RUNTIME_H_
#define LACUNA_BINDING_RUNTIME_H_

#include <cstdint>
#include <memory>
#include <string>

#include "onnxruntime_c_api.h"

namespace lacuna::binding {

// Releases an object from a Create call of the API.
template <typename T>
using Owned = std::unique_ptr<T, void(ORT_API_CALL*)(T*)>;

// The first version that takes external data from memory.
constexpr uint32_t kApiVersion = 18;

class Runtime {
 public:
  // The library at `path`, opened once for each process. Throws std::runtime_error if it cannot be loaded or is too
  // old.
  static const Runtime& Open(const std::string& path);

  const OrtApi& api() const { return *api_; }
  const OrtEnv* env() const { return env_; }
  const std::string& version() const { return version_; }

 private:
  explicit Runtime(const std::string& path);

  const OrtApi* api_ = nullptr;
  // Kept until the process ends, because sessions of other owners share it.
  OrtEnv* env_ = nullptr;
  std::string version_;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_RUNTIME_H_
