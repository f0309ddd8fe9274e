#include "binding/runtime.h"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <stdexcept>

#include "ops/ort.h"

namespace lacuna::binding {

const Runtime& Runtime::Open(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<Runtime>>& opened = *new std::map<std::string, std::unique_ptr<Runtime>>();
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Runtime>& runtime = opened[path];
  if (runtime == nullptr) runtime.reset(new Runtime(path));
  return *runtime;
}

Runtime::Runtime(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(std::string("cannot load ONNX Runtime: ") + dlerror());
  using GetApiBase = const OrtApiBase*(ORT_API_CALL*)();
  const auto get_base = reinterpret_cast<GetApiBase>(dlsym(library, "OrtGetApiBase"));
  if (get_base == nullptr) throw std::runtime_error(path + " is no ONNX Runtime: it has no OrtGetApiBase");
  const OrtApiBase* base = get_base();
  version_ = base->GetVersionString();
  api_ = base->GetApi(kApiVersion);
  if (api_ == nullptr)
    throw std::runtime_error("ONNX Runtime " + version_ + " is too old: version 1." + std::to_string(kApiVersion) +
                             " of its interface is needed");
  ort::Check(*api_, api_->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "lacuna", &env_));
}

}  // namespace lacuna::binding
