// Any model for Node, and its tensors.
#ifndef LACUNA_BINDING_NODE_MODEL_H_
#define LACUNA_BINDING_NODE_MODEL_H_

#include <napi.h>

namespace lacuna::binding {

// Adds openModel({ runtime, path | bytes, … }): Promise<NativeModel> to the exports of the addon.
void ExportModel(Napi::Env env, Napi::Object exports);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_NODE_MODEL_H_
