#include "ops/ffn_node.h"

#include <utility>

namespace lacuna {
namespace {

ScratchPool& SharedScratch() {
  static ScratchPool* const pool = new ScratchPool;
  return *pool;
}

}  // namespace

TakenScratch::TakenScratch() : scratch_(SharedScratch().Take()) {}
TakenScratch::~TakenScratch() { SharedScratch().Return(std::move(scratch_)); }

Activation ActivationOf(const ort::Node& node) {
  constexpr std::pair<const char*, Activation> kNames[] = {{"silu", Activation::kSilu},
                                                           {"gelu_tanh", Activation::kGeluTanh},
                                                           {"gelu", Activation::kGelu},
                                                           {"relu", Activation::kRelu}};
  const std::string wanted = node.String("activation");
  for (const auto& [name, activation] : kNames)
    if (wanted == name) return activation;
  throw ort::Refusal(ORT_INVALID_ARGUMENT, "lacuna: " + node.op_type() +
                                               ": expected silu, gelu_tanh, gelu or relu for attribute activation " +
                                               "but received \"" + wanted + "\"");
}

}  // namespace lacuna
