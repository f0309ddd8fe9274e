#include "reference/spark_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace lacuna::reference {
namespace {

using Head = std::vector<double>;

void TurnPart(Head& head, size_t from, size_t to, const Rotary& rotary, size_t position) {
  const size_t half = (to - from) / 2;
  for (size_t i = 0; i < half; ++i) {
    const double cosine = rotary.cosines[position * half + i], sine = rotary.sines[position * half + i];
    const double first = head[from + i], second = head[from + half + i];
    head[from + i] = first * cosine - second * sine;
    head[from + half + i] = second * cosine + first * sine;
  }
}

Head Turned(const lacuna::SparkAttention& op, const float* from, size_t position) {
  Head head(from, from + op.head_size);
  TurnPart(head, 0, op.predictor_size, op.predictor, position);
  TurnPart(head, op.predictor_size, op.head_size, op.others, position);
  return head;
}

double Product(const Head& a, const Head& b, size_t from, size_t to) {
  double sum = 0;
  for (size_t i = from; i < to; ++i) sum += a[i] * b[i];
  return sum / std::sqrt(static_cast<double>(to - from));
}

}  // namespace

SparkAttended SparkAttention(const lacuna::SparkAttention& op, const SparkCache& cache, size_t tokens, const float* projected) {
  const size_t size = op.head_size, stride = (op.heads + 2 * op.kv_heads) * size;
  SparkAttended result;
  result.y.resize(tokens * op.heads * size);
  result.attended.resize(tokens);
  for (size_t kv_head = 0; kv_head < op.kv_heads; ++kv_head) {
    std::vector<Head> keys, values;
    for (size_t i = 0; i < cache.seen; ++i) {
      const size_t place = (kv_head * cache.past_capacity + i) * size;
      keys.emplace_back(cache.past_key + place, cache.past_key + place + size);
      values.emplace_back(cache.past_value + place, cache.past_value + place + size);
    }
    for (size_t t = 0; t < tokens; ++t) {
      const float* const token = projected + t * stride;
      const float* const value = token + (op.heads + op.kv_heads + kv_head) * size;
      keys.push_back(Turned(op, token + (op.heads + kv_head) * size, cache.seen + t));
      values.emplace_back(value, value + size);
      result.keys.insert(result.keys.end(), keys.back().begin(), keys.back().end());
      result.values.insert(result.values.end(), values.back().begin(), values.back().end());
      const auto visible = static_cast<double>(keys.size());
      for (size_t head = kv_head * op.heads / op.kv_heads; head < (kv_head + 1) * op.heads / op.kv_heads; ++head) {
        const Head query = Turned(op, token + head * size, cache.seen + t);
        Head scores;
        for (const Head& key : keys) {
          const double score = Product(query, key, 0, op.predictor_size);
          scores.push_back(op.softcap == 0 ? score : op.softcap * std::tanh(score / op.softcap));
        }
        double mean = 0, squares = 0;
        for (double score : scores) mean += score / visible;
        for (double score : scores) squares += (score - mean) * (score - mean);
        const double deviation = std::sqrt(squares / visible), largest = *std::max_element(scores.begin(), scores.end());
        const double theta = std::min(mean + deviation * op.quantiles[keys.size() - 1], largest);
        double sum = 0;
        for (double score : scores) {
          if (score != theta) result.margin = std::min(result.margin, std::abs(score - theta) / deviation);
          if (score >= theta) sum += std::exp(score - largest);
        }
        double* const y = result.y.data() + (t * op.heads + head) * size;
        for (size_t i = 0; i < keys.size(); ++i) {
          if (!(scores[i] >= theta)) continue;
          ++result.attended[t];
          const double other = Product(query, keys[i], op.predictor_size, size);
          const double weight = std::exp(scores[i] - largest) / sum * std::log1p(std::exp(other));
          for (size_t entry = 0; entry < size; ++entry) y[entry] += weight * values[i][entry];
        }
      }
    }
  }
  return result;
}

}  // namespace lacuna::reference
