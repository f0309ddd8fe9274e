// The decoder for Node: promises and typed arrays. No work runs on the event loop's thread.
#ifndef LACUNA_BINDING_NODE_DECODER_H_
#define LACUNA_BINDING_NODE_DECODER_H_

#include <napi.h>

namespace lacuna::binding {

// Adds openDecoder({ runtime, model, operators?, threads? }): Promise<NativeDecoder> to the exports of the addon.
void ExportDecoder(Napi::Env env, Napi::Object exports);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_NODE_DECODER_H_
