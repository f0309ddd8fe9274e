// The library's entry, which ONNX Runtime and onnxruntime-genai look up by name. `LacunaInstructions` and
// wanted_logits.h are for our own session.
#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>

#include "kernels/targets.h"
#include "ops/operators.h"
#include "ops/wanted_logits.h"

namespace lacuna {
namespace {

// For comparisons and for faults that only some processors show.
void ChooseInstructionsOfEnvironment() {
  constexpr const char* kVariable = "LACUNA_INSTRUCTIONS";
  const char* name = std::getenv(kVariable);
  try {
    ChooseInstructions(name == nullptr ? "" : name);
  } catch (const std::invalid_argument& error) {
    throw ort::Refusal(ORT_INVALID_ARGUMENT, std::string("lacuna: ") + kVariable + ": " + error.what());
  }
}

// The domain with all its operators. Sessions refer to it as long as they live, and nothing says when the last one
// ends. So it is never released. A process has one for each ONNX Runtime that it has loaded.
OrtCustomOpDomain* DomainOf(const OrtApi& api) {
  static std::mutex* const mutex = new std::mutex;
  static auto* const domains = new std::map<const OrtApi*, std::pair<OrtCustomOpDomain*, ort::Operators>>;
  const std::lock_guard<std::mutex> lock(*mutex);
  if (const auto found = domains->find(&api); found != domains->end()) return found->second.first;
  static const bool is_chosen = (ChooseInstructionsOfEnvironment(), true);
  (void)is_chosen;
  ort::Operators operators;
  AddStatisticalTopK(operators);
  AddGatedFfn(operators);
  AddFfnSkip(operators);
  AddNormAttention(operators);
  AddNormProduct(operators);
  AddSparkAttention(operators);
  OrtCustomOpDomain* domain = nullptr;
  ort::Check(api, api.CreateCustomOpDomain("lacuna", &domain));
  for (const auto& op : operators) ort::Check(api, api.CustomOpDomain_Add(domain, op.get()));
  domains->emplace(&api, std::make_pair(domain, std::move(operators)));
  return domain;
}

}  // namespace
}  // namespace lacuna

extern "C" LACUNA_EXPORT const char* LacunaInstructions() noexcept { return lacuna::InstructionsInUse(); }

extern "C" LACUNA_EXPORT OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options,
                                                                        const OrtApiBase* base) noexcept {
  const OrtApi* api = base->GetApi(lacuna::ort::kApiVersion);
  if (api == nullptr) {
    // Every runtime has version 1, which can at least report the error.
    const OrtApi* first = base->GetApi(1);
    if (first == nullptr) return nullptr;
    const std::string message = std::string("lacuna: ONNX Runtime ") + base->GetVersionString() +
                                " is too old for Lacuna's operators, which need 1.17 or newer";
    return first->CreateStatus(ORT_FAIL, message.c_str());
  }
  return lacuna::ort::Guarded(*api, [&] {
    lacuna::ort::Check(*api, api->AddCustomOpDomain(options, lacuna::DomainOf(*api)));
  });
}
