#include "reference/gated_ffn.h"

#include <cmath>

#include "reference/matrix.h"
#include "reference/statistical_top_k.h"

namespace lacuna::reference {
namespace {

// The entries of x that a matrix multiplies.
std::vector<double> Entries(const GatedFfn& ffn, const float* x, const Range& range) {
  if (IsBlocked(ffn.storage)) return QuantisedEntries(x + range.first, range.count);
  return {x + range.first, x + range.first + range.count};
}

double Dot(const std::vector<double>& row, const std::vector<double>& x) {
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) sum += row[i] * x[i];
  return sum;
}

double At(const float* values, size_t i) { return values == nullptr ? 0.0 : values[i]; }

struct Choice {
  // act(gate), or 0 if a neuron is not chosen.
  std::vector<double> act;
  int kept = 0;
};

// By |measure_j| * weights_j.
Choice ChooseByScore(const GatedFfn& ffn, const std::vector<double>& measure, std::vector<double> act) {
  std::vector<double> scores(act.size());
  double mean = 0;
  for (size_t j = 0; j < act.size(); ++j) {
    scores[j] = std::abs(measure[j]) * ffn.score_weights[j];
    mean += scores[j] / static_cast<double>(act.size());
  }
  const double limit = IsRelative(ffn.choice) ? ffn.threshold * mean : ffn.threshold;
  int kept = 0;
  for (size_t j = 0; j < act.size(); ++j) {
    const bool chosen = scores[j] >= limit;
    kept += chosen;
    if (!chosen) act[j] = 0;
  }
  return {std::move(act), kept};
}

// A matrix times entries, plus a bias.
std::vector<double> Products(Storage storage, const Matrix& matrix, size_t width, const std::vector<double>& x,
                             const float* bias, size_t neurons) {
  std::vector<double> products(neurons);
  for (size_t j = 0; j < neurons; ++j) products[j] = Dot(RowOf(storage, matrix, width, j), x) + At(bias, j);
  return products;
}

// Gate or up times entries, plus a bias, with both planes if there are two.
std::vector<double> Projected(const GatedFfn& ffn, const Matrix& matrix, const Matrix& upper, size_t width,
                              const std::vector<double>& x, const float* bias) {
  if (!IsNested(ffn.choice)) return Products(ffn.storage, matrix, width, x, bias, ffn.neurons);
  std::vector<double> products = Products(Storage::kInt4, upper, width, x, bias, ffn.neurons);
  const std::vector<double> lower = Products(Storage::kInt4, matrix, width, x, nullptr, ffn.neurons);
  for (size_t j = 0; j < ffn.neurons; ++j) products[j] += lower[j] / 16;
  return products;
}

// act(gate) * up of a predictor.
std::vector<double> Predicted(const GatedFfn& ffn, const float* x) {
  const auto project = [&](const Matrix& matrix, const Range& range, const float* bias) {
    return Products(Storage::kInt4, matrix, range.count, QuantisedEntries(x + range.first, range.count), bias, ffn.neurons);
  };
  std::vector<double> products = project(ffn.predictor_gate, ffn.gate_inputs, ffn.gate_bias);
  const std::vector<double> up = project(ffn.predictor_up, ffn.up_inputs, ffn.up_bias);
  for (size_t j = 0; j < ffn.neurons; ++j)
    products[j] = Activate(ffn.activation, products[j]) * ActivateUp(ffn.activation, up[j]);
  return products;
}

std::vector<double> Times(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> products(a.size());
  for (size_t j = 0; j < a.size(); ++j) products[j] = a[j] * b[j];
  return products;
}

// The measure of neurons that have a score, without their weights.
std::vector<double> MeasureOf(const GatedFfn& ffn, const float* x, const std::vector<double>& gate,
                              const std::vector<double>& act, const std::vector<double>& up) {
  switch (ffn.choice.measure) {
    case Measure::kGate:
      return gate;
    case Measure::kActivation:
      return act;
    case Measure::kProduct:
      return Times(act, up);
    case Measure::kPredicted:
    case Measure::kNested:
      return Predicted(ffn, x);
    case Measure::kNone:
      break;
  }
  return {};
}

Choice Choose(const GatedFfn& ffn, const float* x, const std::vector<double>& gate, const std::vector<double>& up,
              bool choose_all) {
  const bool statistical = IsStatistical(ffn.choice);
  std::vector<double> picked = gate;
  int kept = static_cast<int>(gate.size());
  if (statistical && !choose_all) {
    TopK top = StatisticalTopK(gate, ffn.quantile, ffn.choice.mode == TopKMode::kSoft);
    picked = std::move(top.y);
    kept = top.kept;
  }
  for (double& value : picked) value = Activate(ffn.activation, value);
  if (statistical || choose_all || !Chooses(ffn.choice)) return {std::move(picked), kept};
  const std::vector<double> measure = MeasureOf(ffn, x, gate, picked, up);
  return ChooseByScore(ffn, measure, std::move(picked));
}

std::vector<double> Normed(const RmsNorm& norm, const std::vector<double>& y) {
  double squares = 0;
  for (double value : y) squares += value * value;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(y.size()) + norm.epsilon);
  std::vector<double> normed(y.size());
  for (size_t i = 0; i < y.size(); ++i) normed[i] = y[i] * scale * norm.weight[i];
  return normed;
}

}  // namespace

double Saturation(const float* residual, const std::vector<double>& y) {
  double product = 0, before = 0, after = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double h = residual[i], sum = h + y[i];
    product += h * sum;
    before += h * h;
    after += sum * sum;
  }
  const double norms = std::sqrt(before * after);
  return norms == 0 ? 0 : product / norms;
}

double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu:
      return x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kRelu:
    case Activation::kDrelu:
      return x < 0 ? 0 : x;
  }
  return x;
}

double ActivateUp(Activation activation, double up) { return activation == Activation::kDrelu && up < 0 ? 0 : up; }

GatedFfnToken RunGatedFfn(const GatedFfn& ffn, const float* x, const float* residual, bool choose_all) {
  const std::vector<double> gate_x = Entries(ffn, x, ffn.gate_inputs), up_x = Entries(ffn, x, ffn.up_inputs);
  const std::vector<double> gate =
      Projected(ffn, ffn.gate, ffn.predictor_gate, ffn.gate_inputs.count, gate_x, ffn.gate_bias);
  std::vector<double> up = Projected(ffn, ffn.up, ffn.predictor_up, ffn.up_inputs.count, up_x, ffn.up_bias);
  for (double& value : up) value = ActivateUp(ffn.activation, value);
  const Choice choice = Choose(ffn, x, gate, up, choose_all);
  GatedFfnToken token;
  token.kept = choice.kept;
  for (size_t i = 0; i < ffn.hidden; ++i) token.raw.push_back(At(ffn.down_bias, i));
  for (size_t j = 0; j < ffn.neurons; ++j) {
    if (choice.act[j] == 0) continue;
    const std::vector<double> down = RowOf(ffn.storage, ffn.down, ffn.hidden, j);
    for (size_t i = 0; i < ffn.hidden; ++i) token.raw[i] += choice.act[j] * up[j] * down[i];
  }
  token.y = ffn.post_norm.weight == nullptr ? token.raw : Normed(ffn.post_norm, token.raw);
  if (residual != nullptr) token.saturation = Saturation(residual, token.y);
  return token;
}

}  // namespace lacuna::reference
