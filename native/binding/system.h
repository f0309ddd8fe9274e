// What differs between operating systems: libraries, and paths.
#ifndef LACUNA_BINDING_SYSTEM_H_
#define LACUNA_BINDING_SYSTEM_H_

#include <string>

#include "ops/ort.h"

namespace lacuna::binding {

// A path in UTF-8 as ONNX Runtime wants it.
std::basic_string<ORTCHAR_T> SystemPath(const std::string& path);

// Loads a library. Throws std::runtime_error that says why it cannot be loaded.
void* LoadedLibrary(const std::string& path);

// A library that something else has loaded; null if nothing has. The library then stays loaded.
void* FoundLibrary(const std::string& path);

// An exported function; null if there is none.
void* ExportOf(void* library, const char* name);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_SYSTEM_H_
