#include "binding/runtime.h"

#include <map>
#include <mutex>
#include <stdexcept>

#include "binding/system.h"
#include "ops/ort.h"

namespace lacuna::binding {
namespace {

void* LibraryOf(const std::string& path) {
  try {
    return LoadedLibrary(path);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(std::string("cannot load ONNX Runtime: ") + error.what());
  }
}

}  // namespace

const Runtime& Runtime::Open(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<Runtime>>& opened = *new std::map<std::string, std::unique_ptr<Runtime>>();
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Runtime>& runtime = opened[path];
  if (runtime == nullptr) runtime.reset(new Runtime(path));
  return *runtime;
}

Runtime::Runtime(const std::string& path) {
  using GetApiBase = const OrtApiBase*(ORT_API_CALL*)();
  const auto get_base = reinterpret_cast<GetApiBase>(ExportOf(LibraryOf(path), "OrtGetApiBase"));
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
