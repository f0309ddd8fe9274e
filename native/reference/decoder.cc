#include "reference/decoder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "reference/gated_ffn.h"
#include "reference/matrix.h"

namespace lacuna::reference {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

// A few roundings of a float.
double Roundings(double value, double count = 4) { return count * kEpsilon * std::abs(value); }

Row CodedBlock(const Bounded* x, size_t count) {
  double largest = 0, error = 0;
  for (size_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::abs(x[i].value));
    error = std::max(error, x[i].error);
  }
  Row coded(count);
  if (largest == 0) return coded;
  const double step = largest / 127;
  for (size_t i = 0; i < count; ++i) {
    const double steps = x[i].value / step, code = std::nearbyint(steps);
    const double slack = (x[i].error + std::abs(steps) * error / 127) / step + Roundings(steps);
    const bool is_near_tie = 0.5 - std::abs(steps - code) <= slack;
    const double value = code * step;
    coded[i] = {value, std::abs(code) * error / 127 + Roundings(value) + (is_near_tie ? step : 0)};
  }
  return coded;
}

Row Slice(const Row& row, size_t first, size_t count) {
  const auto from = row.begin() + static_cast<std::ptrdiff_t>(first);
  return {from, from + static_cast<std::ptrdiff_t>(count)};
}

// The slope of activations is below 1.13, that of gelu.
Bounded Activated(Activation activation, const Bounded& x) {
  const double value = Activate(activation, x.value);
  // exp and erf of vectors are exact to a few units of 1.
  return {value, 1.13 * x.error + 2e-6 * std::max(1.0, std::abs(x.value))};
}

Bounded ActivatedUp(Activation activation, const Bounded& up) { return {ActivateUp(activation, up.value), up.error}; }

Bounded Product(const Bounded& a, const Bounded& b) {
  const double value = a.value * b.value;
  return {value, std::abs(a.value) * b.error + std::abs(b.value) * a.error + a.error * b.error + Roundings(value)};
}

Row NormedWhere(const RmsNorm& norm, Row y) { return norm.weight == nullptr ? y : Normed(norm, y); }

// A head with its norm, turned by a position's angles.
Row Positioned(const NormAttention& part, const RmsNorm& norm, Row head, size_t position) {
  head = NormedWhere(norm, std::move(head));
  const size_t half = part.head_size / 2;
  Row turned(head.size());
  for (size_t i = 0; i < half; ++i) {
    const double cosine = part.cosines[position * half + i], sine = part.sines[position * half + i];
    const Bounded &a = head[i], &b = head[half + i];
    const double error = std::abs(cosine) * std::max(a.error, b.error) + std::abs(sine) * std::max(a.error, b.error) +
                         Roundings(std::abs(a.value) + std::abs(b.value));
    turned[i] = {a.value * cosine - b.value * sine, error};
    turned[half + i] = {b.value * cosine + a.value * sine, error};
  }
  return turned;
}

// Softmax of the scores of one head's visible keys, times their values.
Row Attended(const NormAttention& part, const Row& query, size_t kv_head, const std::vector<Row>& keys,
             const std::vector<Row>& values) {
  const size_t count = keys.size(), size = part.head_size;
  const size_t first = part.window == 0 || count <= part.window ? 0 : count - part.window;
  std::vector<double> scores(count), errors(count);
  double largest = -std::numeric_limits<double>::infinity();
  for (size_t j = first; j < count; ++j) {
    double sum = 0, slack = 0;
    for (size_t i = 0; i < size; ++i) {
      const Bounded product = Product(query[i], keys[j][kv_head * size + i]);
      sum += product.value;
      // Vectors add four lanes or more side by side.
      slack += product.error + (static_cast<double>(size) / 4 + 8) * kEpsilon * std::abs(product.value);
    }
    sum *= part.scale;
    if (part.softcap > 0) sum = part.softcap * std::tanh(sum / part.softcap);
    scores[j] = sum;
    // The slope of capping is 1 at most.
    errors[j] = std::abs(part.scale) * slack + Roundings(sum) + 1e-6 * part.softcap;
    largest = std::max(largest, sum);
  }
  double weights = 0, error = 0;
  for (size_t j = first; j < count; ++j) {
    weights += std::exp(scores[j] - largest);
    error += std::exp(scores[j] - largest) * std::expm1(errors[j]);
  }
  error /= weights;
  Row attended(size);
  for (size_t j = first; j < count; ++j) {
    const double weight = std::exp(scores[j] - largest) / weights;
    // The error of a weight comes from its score, from the sum of the weights, and from rounding exp and sums over
    // positions.
    const double share = std::expm1(errors[j]) + error + (static_cast<double>(count) / 2 + 8) * kEpsilon;
    for (size_t i = 0; i < size; ++i) {
      const Bounded& value = values[j][kv_head * size + i];
      attended[i].value += weight * value.value;
      attended[i].error += weight * (value.error + share * (std::abs(value.value) + value.error));
    }
  }
  return attended;
}

}  // namespace

Row Exact(const float* values, size_t count) {
  Row row(count);
  for (size_t i = 0; i < count; ++i) row[i] = {values[i], 0};
  return row;
}

Row Add(const Row& a, const Row& b) {
  Row sum(a.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const double value = a[i].value + b[i].value;
    sum[i] = {value, a[i].error + b[i].error + Roundings(value, 1)};
  }
  return sum;
}

Row Normed(const RmsNorm& norm, const Row& x) {
  double squares = 0, error = 0;
  for (const Bounded& entry : x) {
    squares += entry.value * entry.value;
    error += 2 * std::abs(entry.value) * entry.error + entry.error * entry.error;
  }
  const double count = static_cast<double>(x.size());
  const double mean = squares / count + norm.epsilon;
  const double scale = 1 / std::sqrt(mean);
  // Half the relative error of the mean. That is the error of its entries and of a sum of them.
  const double share = error / count / mean / 2 + (count / 8 + 8) * kEpsilon;
  Row normed(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double value = x[i].value * scale * norm.weight[i];
    normed[i] = {value, x[i].error * scale * std::abs(norm.weight[i]) + share * std::abs(value)};
  }
  return normed;
}

Row Coded(const Row& x) {
  Row coded;
  for (size_t first = 0; first < x.size(); first += kBlock) {
    const Row block = CodedBlock(x.data() + first, std::min(kBlock, x.size() - first));
    coded.insert(coded.end(), block.begin(), block.end());
  }
  return coded;
}

Numbers::Numbers(Storage storage, const BlockMatrix& matrix)
    : rows_(matrix.rows), columns_(matrix.columns), bias_(matrix.bias), entries_(rows_ * columns_), sizes_(rows_ * columns_) {
  const Matrix middle = {matrix.stored.data, matrix.stored.scales, nullptr};
  for (size_t j = 0; j < rows_; ++j) {
    const std::vector<double> row = RowOf(storage, matrix.stored, columns_, j);
    const std::vector<double> from_middle =
        matrix.stored.zero_points == nullptr ? row : RowOf(storage, middle, columns_, j);
    for (size_t i = 0; i < columns_; ++i) {
      entries_[j * columns_ + i] = row[i];
      // The distance of zero from the middle is a separate product.
      sizes_[j * columns_ + i] = std::abs(from_middle[i]) + std::abs(row[i] - from_middle[i]);
    }
  }
}

Row Numbers::Times(const Row& coded) const {
  const double blocks = static_cast<double>(Blocks(columns_));
  Row products(rows_);
  for (size_t j = 0; j < rows_; ++j) {
    const double *const row = entries_.data() + j * columns_, *const of_row = sizes_.data() + j * columns_;
    double sum = 0, sizes = 0, error = 0;
    for (size_t i = 0; i < columns_; ++i) {
      sum += row[i] * coded[i].value;
      sizes += of_row[i] * std::abs(coded[i].value);
      error += std::abs(row[i]) * coded[i].error;
    }
    // Blocks are exact. They are scaled and added in float. Stored zeros add a quarter as many sums.
    error += (1.25 * blocks + 8) * kEpsilon * sizes;
    if (bias_ == nullptr) {
      products[j] = {sum, error};
    } else {
      products[j] = {sum + bias_[j], error + Roundings(sum + bias_[j], 1)};
    }
  }
  return products;
}

Row NormProductOf(const NormProduct& part, const Numbers& weight, const Row& stream) {
  Row products = weight.Times(Coded(Normed(part.norm, stream)));
  if (part.softcap == 0) return products;
  for (Bounded& product : products) {
    product.value = part.softcap * std::tanh(product.value / part.softcap);
    // The slope of capping is 1 at most.
    product.error += 1e-6 * part.softcap;
  }
  return products;
}

FfnNumbers::FfnNumbers(const NormFfn& part)
    : gate(part.storage, part.gate), up(part.storage, part.up), down(part.storage, part.down) {}

Row NormFfnOf(const NormFfn& part, const FfnNumbers& numbers, const Row& stream) {
  const Row input = Coded(NormedWhere(part.norm, stream));
  const Row gate = numbers.gate.Times(input), up = numbers.up.Times(input);
  Row product(gate.size());
  for (size_t j = 0; j < gate.size(); ++j)
    product[j] = Product(Activated(part.activation, gate[j]), ActivatedUp(part.activation, up[j]));
  return NormedWhere(part.post_norm, numbers.down.Times(Coded(product)));
}

AttentionNumbers::AttentionNumbers(const NormAttention& part)
    : query(part.storage, part.query),
      key(part.storage, part.key),
      value(part.storage, part.value),
      output(part.storage, part.output) {}

Projected ProjectedOf(const NormAttention& part, const AttentionNumbers& numbers, const Row& stream, size_t position) {
  const Row input = Coded(Normed(part.norm, stream));
  const auto heads = [&](const Numbers& matrix, const RmsNorm& norm) {
    const Row all = matrix.Times(input);
    Row positioned;
    for (size_t first = 0; first < all.size(); first += part.head_size) {
      const Row head = Positioned(part, norm, Slice(all, first, part.head_size), position);
      positioned.insert(positioned.end(), head.begin(), head.end());
    }
    return positioned;
  };
  return {heads(numbers.query, part.query_norm), heads(numbers.key, part.key_norm), numbers.value.Times(input)};
}

Row AttendedOf(const NormAttention& part, const AttentionNumbers& numbers, const Row& queries, const std::vector<Row>& keys,
               const std::vector<Row>& values) {
  const size_t size = part.head_size, group = part.heads / part.kv_heads;
  Row attended;
  for (size_t head = 0; head < part.heads; ++head) {
    const Row one = Attended(part, Slice(queries, head * size, size), head / group, keys, values);
    attended.insert(attended.end(), one.begin(), one.end());
  }
  return NormedWhere(part.post_norm, numbers.output.Times(Coded(attended)));
}

}  // namespace lacuna::reference
