// The addon that Node loads. Each environment of a process (worker threads have their own) gets its own exports.
#include <napi.h>

#include "binding/bandwidth.h"
#include "binding/library.h"
#include "binding/node_decoder.h"
#include "binding/node_model.h"
#include "binding/worker.h"
#include "ops/vocabulary.h"

static Napi::Object InitializeModule(Napi::Env env, Napi::Object exports) {
  lacuna::binding::EndWorkersAtExit(env);
  lacuna::binding::ExportDecoder(env, exports);
  lacuna::binding::ExportModel(env, exports);
  lacuna::binding::ExportBandwidth(env, exports);
  lacuna::binding::ExportInstructions(env, exports);
  // Version of the library of operators, which is built together with this file.
  exports.Set("operatorSet", lacuna::kOperatorSet);
  return exports;
}

NODE_API_MODULE(lacuna_node, InitializeModule)
