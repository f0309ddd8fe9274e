// What a session's graph says about its inputs and outputs.
#ifndef LACUNA_BINDING_PORTS_H_
#define LACUNA_BINDING_PORTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "binding/runtime.h"

namespace lacuna::binding {

struct Port {
  std::string name;
  // False for a sequence or a map.
  bool is_tensor = true;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  // -1 for an open dimension. Its name, if it has one, is in `symbols`.
  std::vector<int64_t> shape;
  std::vector<std::string> symbols;
};

// Both throw ort::Refusal.
std::vector<Port> ReadInputs(const OrtApi& api, const OrtSession* session);
std::vector<Port> ReadOutputs(const OrtApi& api, const OrtSession* session);

}  // namespace lacuna::binding

#endif  // LACUNA_BINDING_PORTS_H_
