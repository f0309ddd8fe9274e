#include "reference/few_keys.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cache_format.h"

namespace lacuna::reference {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

double Capped(const FewKeys& head, double score) {
  return head.softcap > 0 ? head.softcap * std::tanh(score / head.softcap) : score;
}

// What rounding does to a score of `size` products whose sizes add up to `sizes`.
Bounded ScoreOf(const FewKeys& head, double products, double sizes) {
  const double score = Capped(head, products * head.scale);
  // Vectors add four lanes or more side by side. The slope of capping is 1 at most.
  const double sums = (static_cast<double>(head.size) / 4 + 8) * kEpsilon * sizes * head.scale;
  return {score, sums + 4 * kEpsilon * std::abs(score) + 1e-6 * head.softcap};
}

}  // namespace

std::vector<double> CodedParts(const float* entries, size_t size, float most) {
  std::vector<double> coded(size);
  for (size_t first = 0; first < size; first += kCachePart) {
    const size_t end = std::min(size, first + kCachePart);
    float largest = 0;
    for (size_t i = first; i < end; ++i) largest = std::max(largest, std::abs(entries[i]));
    // In float32, as kernels compute it: codes are then the same.
    const float factor = largest == 0 ? 0 : most / largest, scale = largest / most;
    for (size_t i = first; i < end; ++i) coded[i] = std::nearbyint(entries[i] * factor) * static_cast<double>(scale);
  }
  return coded;
}

Row PredictedScores(const FewKeys& head) {
  const std::vector<double> query = CodedParts(head.query, head.size, 127);
  Row predicted;
  for (size_t j = 0; j < head.visible; ++j) {
    const std::vector<double> key = CodedParts(head.keys + j * head.size, head.size, 7);
    double products = 0, sizes = 0;
    for (size_t first = 0; first < head.size; first += kCachePart) {
      double part = 0;
      for (size_t i = first; i < std::min(head.size, first + kCachePart); ++i) part += query[i] * key[i];
      products += part;
      // Integers are exact. Only parts are rounded.
      sizes += std::abs(part);
    }
    predicted.push_back(ScoreOf(head, products, sizes));
  }
  return predicted;
}

double LeastOfShare(const Row& predicted) {
  double largest = -std::numeric_limits<double>::infinity(), weights = 0;
  for (const Bounded& score : predicted) largest = std::max(largest, score.value);
  for (const Bounded& score : predicted) weights += std::exp(score.value - largest);
  return largest + std::log(kLeastShare * weights / static_cast<double>(predicted.size()));
}

namespace {

// Tokens that scores choose from, those with the largest scores first: as many as may be chosen.
std::vector<size_t> Largest(const FewKeys& head, const Row& predicted) {
  std::vector<size_t> largest;
  for (size_t j = kFirstTokens; j < head.visible - kNewestTokens; ++j) largest.push_back(j);
  std::stable_sort(largest.begin(), largest.end(), [&](size_t a, size_t b) { return predicted[a].value > predicted[b].value; });
  largest.resize(head.attended - kFirstTokens - kNewestTokens);
  return largest;
}

}  // namespace

bool IsSureOfShare(const FewKeys& head, const Row& predicted) {
  const double least = LeastOfShare(predicted);
  const std::vector<size_t> largest = Largest(head, predicted);
  // The share of all weight is known as well as the scores are.
  return std::all_of(largest.begin(), largest.end(), [&](size_t j) {
    return std::abs(predicted[j].value - least) > 2 * predicted[j].error + 1e-5;
  });
}

std::vector<bool> Chosen(const FewKeys& head, const Row& predicted) {
  std::vector<bool> chosen(head.visible, true);
  std::fill(chosen.begin() + kFirstTokens, chosen.end() - kNewestTokens, false);
  const double least = LeastOfShare(predicted);
  for (size_t j : Largest(head, predicted)) chosen[j] = predicted[j].value >= least;
  return chosen;
}

Row AttendedOf(const FewKeys& head, const Row& predicted, const std::vector<bool>& chosen) {
  Row scores = predicted;
  for (size_t j = 0; j < head.visible; ++j) {
    if (!chosen[j]) continue;
    double products = 0, sizes = 0;
    for (size_t i = 0; i < head.size; ++i) {
      const double product = static_cast<double>(head.query[i]) * head.keys[j * head.size + i];
      products += product;
      sizes += std::abs(product);
    }
    scores[j] = ScoreOf(head, products, sizes);
  }
  double largest = -std::numeric_limits<double>::infinity(), sum = 0, error = 0;
  for (const Bounded& score : scores) largest = std::max(largest, score.value);
  const auto weight_of = [&](size_t j) { return std::exp(scores[j].value - largest) * (chosen[j] ? 1 : kRestShare); };
  for (size_t j = 0; j < head.visible; ++j) {
    sum += weight_of(j);
    error += weight_of(j) * std::expm1(scores[j].error);
  }
  error /= sum;
  const double roundings = (static_cast<double>(head.visible) / 2 + 8) * kEpsilon;
  Row attended(head.size);
  double left = 0, slack = 0;
  for (size_t j = 0; j < head.visible; ++j) {
    const double weight = weight_of(j) / sum;
    if (!chosen[j]) {
      left += weight;
      slack = std::max(slack, std::expm1(scores[j].error));
      continue;
    }
    for (size_t i = 0; i < head.size; ++i) {
      const double value = head.values[j * head.size + i];
      attended[i].value += weight * value;
      attended[i].error += weight * (std::expm1(scores[j].error) + error + roundings) * std::abs(value);
    }
  }
  const size_t whole = head.visible / kCacheRun * kCacheRun;
  for (size_t i = 0; i < head.size; ++i) {
    double values = 0, sizes = 0;
    for (size_t j = 0; j < whole; ++j) {
      values += head.values[j * head.size + i];
      sizes += std::abs(static_cast<double>(head.values[j * head.size + i]));
    }
    attended[i].value += left * values / static_cast<double>(whole);
    // Sums within a run, and of runs.
    const double sums = static_cast<double>(kCacheRun + whole / kCacheRun) * kEpsilon;
    attended[i].error += left * (slack + error + roundings + sums) * sizes / static_cast<double>(whole);
  }
  return attended;
}

}  // namespace lacuna::reference
