#include "binding/system.h"

#include <stdexcept>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace lacuna::binding {

#ifdef _WIN32

std::wstring SystemPath(const std::string& path) {
  const int bytes = static_cast<int>(path.size());
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.data(), bytes, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.data(), bytes, wide.data(), length);
  return wide;
}

void* LoadedLibrary(const std::string& path) {
  // With the path's folder first, for what the library itself needs.
  HMODULE library = LoadLibraryExW(SystemPath(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  if (library == nullptr) throw std::runtime_error(path + ": Windows' error " + std::to_string(GetLastError()));
  return library;
}

void* FoundLibrary(const std::string& path) {
  HMODULE library = nullptr;
  return GetModuleHandleExW(0, SystemPath(path).c_str(), &library) ? library : nullptr;
}

void* ExportOf(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

#else

std::string SystemPath(const std::string& path) { return path; }

void* LoadedLibrary(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return library;
}

void* FoundLibrary(const std::string& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD); }

void* ExportOf(void* library, const char* name) { return dlsym(library, name); }

#endif

}  // namespace lacuna::binding
