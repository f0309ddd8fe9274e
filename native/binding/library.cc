#include "binding/library.h"

#include "binding/system.h"

namespace lacuna::binding {
namespace {

Napi::Value InstructionsOf(const Napi::CallbackInfo& call) {
  if (!call[0].IsString()) throw Napi::TypeError::New(call.Env(), "instructionsOf: expected the path of a library");
  using Instructions = const char* (*)();
  const auto instructions = reinterpret_cast<Instructions>(LoadedExport(call[0].As<Napi::String>(), "LacunaInstructions"));
  return instructions == nullptr ? call.Env().Null() : Napi::String::New(call.Env(), instructions());
}

}  // namespace

void* LoadedExport(const std::string& library, const char* name) {
  void* loaded = library.empty() ? nullptr : FoundLibrary(library);
  return loaded == nullptr ? nullptr : ExportOf(loaded, name);
}

void ExportInstructions(Napi::Env env, Napi::Object exports) {
  exports.Set("instructionsOf", Napi::Function::New(env, InstructionsOf));
}

}  // namespace lacuna::binding
