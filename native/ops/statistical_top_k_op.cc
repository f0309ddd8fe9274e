#include "kernels/statistical_top_k.h"

#include <algorithm>

#include "kernels/limits.h"
#include "ops/operators.h"

namespace lacuna {
namespace {

class StatisticalTopKKernel {
 public:
  using Settings = TopKMode;
  static constexpr std::array<ort::Port, 1> kInputs = {{{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}}};
  static constexpr std::array<ort::Port, 2> kOutputs = {
      {{ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT}, {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, true}}};

  StatisticalTopKKernel(TopKMode mode, const ort::Node& node) : op_{mode, node.Float("quantile")} {}

  void Compute(ort::Call& call) {
    const ort::Tensor x = call.Input(0);
    const size_t rank = x.shape.rank();
    if (rank == 0) call.Refuse("expected at least one dimension for input x but received a scalar");
    ort::Shape rows;
    rows.Resize(rank - 1);
    std::copy_n(x.shape.data(), rank - 1, rows.data());
    const size_t columns = static_cast<size_t>(x.shape[rank - 1]);
    // They are counted in 32 bits.
    if (columns > static_cast<size_t>(kMostNeurons))
      call.Refuse("expected at most " + std::to_string(kMostNeurons) + " entries a row but received " + std::to_string(columns));
    // Rows without entries take no memory, and their counts would.
    if (columns == 0 && rows.elements() > static_cast<size_t>(kMostNeurons))
      call.Refuse("expected at most " + std::to_string(kMostNeurons) + " rows without entries but received " +
                  std::to_string(rows.elements()));
    float* y = call.Output<float>(0, x.shape);
    int32_t* kept = call.OptionalOutput<int32_t>(1, rows);
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
  ort::AddOperator<StatisticalTopKKernel>(operators, "StatisticalTopK_soft", TopKMode::kSoft);
  ort::AddOperator<StatisticalTopKKernel>(operators, "StatisticalTopK_hard", TopKMode::kHard);
}

}  // namespace lacuna
