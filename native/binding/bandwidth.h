// The memory's bandwidth, for benchmarks in Node.
#ifndef LACUNA_BINDING_BANDWIDTH_H_
#define LACUNA_BINDING_BANDWIDTH_H_

#include <napi.h>

namespace lacuna::binding {

// Adds readBandwidth(threads): Promise<number>, in bytes a second, to the exports of the addon.
void ExportBandwidth(Napi::Env env, Napi::Object exports);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_BANDWIDTH_H_
