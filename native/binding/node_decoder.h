// The decoder as Node sees it: promises and typed arrays, and no work on the thread of the event loop.
#ifndef LACUNA_BINDING_NODE_DECODER_H_
#define LACUNA_BINDING_NODE_DECODER_H_

#include <napi.h>

namespace lacuna::binding {

// Adds openDecoder({ runtime, model, operators?, threads? }): Promise<NativeDecoder> to what the addon exports.
void ExportDecoder(Napi::Env env, Napi::Object exports);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_NODE_DECODER_H_
