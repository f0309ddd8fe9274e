// ONNX Runtime found at run time: the library that the host ships, never one that is linked.
#ifndef LACUNA_BINDING_RUNTIME_H_
#define LACUNA_BINDING_RUNTIME_H_

#include <cstdint>
#include <memory>
#include <string>

#include "onnxruntime_c_api.h"

namespace lacuna::binding {

// Releases what a Create call of the API made.
template <typename T>
using Owned = std::unique_ptr<T, void(ORT_API_CALL*)(T*)>;

// The first that takes external data from memory.
constexpr uint32_t kApiVersion = 18;

class Runtime {
 public:
  // The library at `path`, opened once a process. Throws std::runtime_error when it cannot be loaded or is too old.
  static const Runtime& Open(const std::string& path);

  const OrtApi& api() const { return *api_; }
  const OrtEnv* env() const { return env_; }
  const std::string& version() const { return version_; }

 private:
  explicit Runtime(const std::string& path);

  const OrtApi* api_ = nullptr;
  // Kept until the process ends: sessions of other owners share it.
  OrtEnv* env_ = nullptr;
  std::string version_;
};

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_RUNTIME_H_
