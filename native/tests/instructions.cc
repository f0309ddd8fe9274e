// Before any test runs: leaves out the instruction sets that this processor lacks or that are slower on it, as the
// library of operators does when a runtime loads it. A test of kernels links this file; one of GPUs has no such choice.
#include "kernels/targets.h"

namespace lacuna::testing {
namespace {

[[maybe_unused]] const bool kHasChosenInstructions = (ChooseInstructions(), true);

}  // namespace
}  // namespace lacuna::testing
