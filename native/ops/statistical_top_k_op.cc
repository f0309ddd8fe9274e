#include "kernels/statistical_top_k.h"

#include <algorithm>

#include "kernels/limits.h"
#include "ops/operators.h"
#include "ops/vocabulary.h"

namespace lacuna {
namespace {

class StatisticalTopKKernel {
 public:
  static constexpr auto kInputs = statistical_top_k::kInputs;
  static constexpr auto kOutputs = statistical_top_k::kOutputs;

  explicit StatisticalTopKKernel(const ort::Node& node)
      : op_{node.Word<TopKMode>(attribute::kMode, kTopKModeNames), node.Float(attribute::kQuantile)} {}

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(statistical_top_k::kX);
    const size_t rank = x.shape.rank();
    if (rank == 0) call.Refuse("expected at least one dimension for input x but received a scalar");
    ort::Shape rows;
    rows.Resize(rank - 1);
    std::copy_n(x.shape.data(), rank - 1, rows.data());
    const size_t columns = static_cast<size_t>(x.shape[rank - 1]);
    // They are counted in 32 bits.
    if (columns > static_cast<size_t>(kMostNeurons))
      call.Refuse("expected at most " + std::to_string(kMostNeurons) + " entries a row but received " + std::to_string(columns));
    // Rows without entries take no memory, but their counts would.
    if (columns == 0 && rows.elements() > static_cast<size_t>(kMostNeurons))
      call.Refuse("expected at most " + std::to_string(kMostNeurons) + " rows without entries but received " +
                  std::to_string(rows.elements()));
    float* y = call.Output<float>(statistical_top_k::kYOutput, x.shape);
    int32_t* kept = call.OptionalOutput<int32_t>(statistical_top_k::kKeptOutput, rows);
    if (columns == 0) {
      if (kept != nullptr) std::fill_n(kept, rows.elements(), 0);
      return;
    }
    RunStatisticalTopK(op_, rows.elements(), columns, x.As<float>(), y, kept, call.Threads());
  }

 private:
  StatisticalTopK op_;
};

}  // namespace

void AddStatisticalTopK(ort::Operators& operators) {
  ort::AddOperators<StatisticalTopKKernel>(operators, statistical_top_k::kName, kOperatorSet, statistical_top_k::kBodies);
}

}  // namespace lacuna
