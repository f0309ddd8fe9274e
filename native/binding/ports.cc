#include "binding/ports.h"

#include "ops/ort.h"

namespace lacuna::binding {
namespace {

using ort::Check;
using CountPorts = decltype(OrtApi::SessionGetInputCount);
using PortName = decltype(OrtApi::SessionGetInputName);
using PortType = decltype(OrtApi::SessionGetInputTypeInfo);

void ReadTensor(const OrtApi& api, const OrtTensorTypeAndShapeInfo* tensor, Port& port) {
  size_t rank = 0;
  Check(api, api.GetTensorElementType(tensor, &port.type));
  Check(api, api.GetDimensionsCount(tensor, &rank));
  port.shape.resize(rank);
  Check(api, api.GetDimensions(tensor, port.shape.data(), rank));
  std::vector<const char*> symbols(rank, "");
  Check(api, api.GetSymbolicDimensions(tensor, symbols.data(), rank));
  port.symbols.assign(symbols.begin(), symbols.end());
}

std::vector<Port> ReadPorts(const OrtApi& api, const OrtSession* session, CountPorts count_ports, PortName port_name,
                            PortType port_type) {
  OrtAllocator* allocator = nullptr;
  Check(api, api.GetAllocatorWithDefaultOptions(&allocator));
  size_t count = 0;
  Check(api, count_ports(session, &count));
  std::vector<Port> ports(count);
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    Check(api, port_name(session, i, allocator, &name));
    ports[i].name = name;
    Check(api, api.AllocatorFree(allocator, name));
    OrtTypeInfo* made = nullptr;
    Check(api, port_type(session, i, &made));
    const Owned<OrtTypeInfo> type(made, api.ReleaseTypeInfo);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    Check(api, api.CastTypeInfoToTensorInfo(made, &tensor));
    ports[i].is_tensor = tensor != nullptr;
    if (tensor != nullptr) ReadTensor(api, tensor, ports[i]);
  }
  return ports;
}

}  // namespace

std::vector<Port> ReadInputs(const OrtApi& api, const OrtSession* session) {
  return ReadPorts(api, session, api.SessionGetInputCount, api.SessionGetInputName, api.SessionGetInputTypeInfo);
}

std::vector<Port> ReadOutputs(const OrtApi& api, const OrtSession* session) {
  return ReadPorts(api, session, api.SessionGetOutputCount, api.SessionGetOutputName, api.SessionGetOutputTypeInfo);
}

}  // namespace lacuna::binding
