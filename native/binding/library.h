// The library of operators, which ONNX Runtime loads for a session.
#ifndef LACUNA_BINDING_LIBRARY_H_
#define LACUNA_BINDING_LIBRARY_H_

#include <napi.h>

#include <string>

namespace lacuna::binding {

// An exported function of a library that ONNX Runtime has loaded; null if there is none. The library then stays loaded.
void* LoadedExport(const std::string& library, const char* name);

// Adds instructionsOf(library): string | null to the exports of the addon: the instructions that its kernels use, while a
// session has it loaded.
void ExportInstructions(Napi::Env env, Napi::Object exports);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_LIBRARY_H_
