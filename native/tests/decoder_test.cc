// The parts of a decoder layer against plain loops: odd sizes, blocks that are not full, misaligned memory, every
// storage and instruction set, one token and many. A token's result must not depend on what comes with it.
#include "kernels/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>

#include "hwy/base.h"
#include "reference/decoder.h"
#include "reference/few_keys.h"
#include "reference/gated_ffn.h"
#include "reference/matrix.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

using reference::Bounded;
using reference::StoredMatrix;
using testing::Misaligned;

constexpr Storage kStorages[] = {Storage::kInt8, Storage::kInt6, Storage::kInt5, Storage::kInt4};

// What matrices have besides codes and scales.
struct Variant {
  bool asymmetric, biased;
};
constexpr Variant kVariants[] = {{false, false}, {true, false}, {false, true}, {true, true}};

std::string NameOf(const Variant& variant) {
  return std::string(variant.asymmetric ? ", zero points" : "") + (variant.biased ? ", biases" : "");
}

template <class Check>
void ForEachVariant(Check check) {
  for (Storage storage : kStorages)
    for (const Variant& variant : kVariants) check(storage, variant);
}

// Random weights and rows that live as long as the test.
class Made {
 public:
  explicit Made(uint32_t seed, Variant variant = {}) : random_(seed), variant_(variant) {}

  BlockMatrix Matrix(Storage storage, size_t rows, size_t columns) {
    const float scale = 1 / std::sqrt(static_cast<float>(columns));
    const StoredMatrix& stored =
        matrices_.emplace_back(storage, random_.Floats(rows * columns, scale), columns, random_.Below(7));
    BlockMatrix matrix = {stored.matrix(), rows, columns};
    if (variant_.asymmetric) matrix.stored.zero_points = ZeroPoints(storage, rows * ZeroPointBytes(storage, columns));
    if (variant_.biased) matrix.bias = Rows(rows, 1).data();
    return matrix;
  }
  // Around 1, like the weights of norms.
  RmsNorm Norm(size_t size) {
    std::vector<float> weight = random_.Floats(size, 0.2f);
    for (float& entry : weight) entry += 1;
    return {Keep(weight).data(), 1e-5f};
  }
  Misaligned& Rows(size_t rows, size_t columns, float scale = 1) { return Keep(random_.Floats(rows * columns, scale)); }
  // Where a kernel is to write.
  Misaligned& Nothing(size_t rows, size_t columns) { return Keep(std::vector<float>(rows * columns, NAN)); }
  Misaligned& Keep(const std::vector<float>& values) { return rows_.emplace_back(values, random_.Below(7)); }

 private:
  // Any code: codes are then not balanced around zero, and bytes past a row's last are not its zero points. No byte is
  // beyond. Those of planes are among the 256 codes of 8 bits, of which the middle ones are theirs.
  const uint8_t* ZeroPoints(Storage storage, size_t bytes) {
    const uint32_t codes = UpperPlanes(storage) == 0 ? 256 : 1u << CodeBits(storage);
    std::vector<uint8_t>& zeros = zero_points_.emplace_back(bytes);
    for (uint8_t& zero : zeros) zero = static_cast<uint8_t>(128 - codes / 2 + random_.Below(codes));
    return zeros.data();
  }

  testing::Random random_;
  const Variant variant_;
  std::deque<StoredMatrix> matrices_;
  std::deque<Misaligned> rows_;
  std::deque<std::vector<uint8_t>> zero_points_;
};

// x + skip, token by token, and the kernel's input for it.
struct Tokens {
  Tokens(Made& made, size_t count_, size_t hidden_, bool has_skip)
      : count(count_), hidden(hidden_), x(made.Rows(count, hidden)), skip(made.Rows(count, hidden)), sum(made.Rows(count, hidden)) {
    stream.tokens = count;
    stream.x = x.data();
    if (!has_skip) return;
    stream.skip = skip.data();
    stream.sum = sum.data();
  }

  reference::Row At(size_t token) const {
    const reference::Row row = reference::Exact(x.data() + token * hidden, hidden);
    return stream.skip == nullptr ? row : reference::Add(row, reference::Exact(skip.data() + token * hidden, hidden));
  }
  // The tokens from `first` on.
  Stream From(size_t first, size_t number) const {
    const size_t at = first * hidden;
    return {number, stream.x + at, stream.skip == nullptr ? nullptr : stream.skip + at,
            stream.sum == nullptr ? nullptr : stream.sum + at};
  }
  // What a kernel has added.
  void Forget() const { std::fill_n(sum.data(), count * hidden, NAN); }
  void CheckSum() const {
    for (size_t i = 0; stream.sum != nullptr && i < count * hidden; ++i) ASSERT_EQ(sum.data()[i], x.data()[i] + skip.data()[i]);
    ASSERT_TRUE(sum.Intact());
  }

  size_t count, hidden;
  Misaligned &x, &skip, &sum;
  Stream stream;
};

void ExpectRow(const float* got, const reference::Row& wanted) {
  for (size_t i = 0; i < wanted.size(); ++i) ASSERT_NEAR(got[i], wanted[i].value, wanted[i].error) << i;
}

// An error bound says something only if it is far below the results. It is not in rows where a tie may go either way,
// but in most others.
class Tightness {
 public:
  explicit Tightness(double most) : most_(most) {}
  // Holds of all cases together, and not of some.
  ~Tightness() { EXPECT_LT(4 * loose_, rows_); }

  void Add(const reference::Row& row) {
    double errors = 0, sizes = 0;
    for (const Bounded& entry : row) {
      errors += entry.error;
      sizes += std::abs(entry.value);
    }
    ++rows_;
    loose_ += errors > most_ * sizes;
  }

 private:
  const double most_;
  size_t rows_ = 0;
  size_t loose_ = 0;
};

// `run(stream, y, parallel)` gives the rows that are wanted, and for each token alone what it gives for all at once.
template <class Run>
void ExpectRows(Made& made, const Tokens& tokens, const std::vector<reference::Row>& wanted, Run run) {
  const size_t width = wanted[0].size();
  tokens.Forget();
  Misaligned& y = made.Nothing(tokens.count, width);
  run(tokens.stream, y.data(), testing::OnThreads(3));
  ASSERT_TRUE(y.Intact());
  tokens.CheckSum();
  for (size_t token = 0; token < tokens.count; ++token) ExpectRow(y.data() + token * width, wanted[token]);
  std::vector<float> alone(width);
  for (size_t token = 0; token < tokens.count; ++token) {
    run(tokens.From(token, 1), alone.data(), OnThisThread());
    for (size_t i = 0; i < width; ++i) ASSERT_EQ(alone[i], y.data()[token * width + i]) << token << ", " << i;
  }
}

constexpr size_t kCounts[] = {1, 2, 4, 7, 65};

TEST(NormProduct, IsThatOfPlainLoops) {
  Tightness tightness(1e-3);
  ForEachVariant([&](Storage storage, const Variant& variant) {
    for (size_t hidden : {16, 32, 33, 128, 500, 576, 1100}) {
      const size_t count = kCounts[hidden % 5], rows = 3 + hidden % 150;
      SCOPED_TRACE(std::to_string(hidden) + ", " + std::to_string(count) + NameOf(variant));
      Made made(static_cast<uint32_t>(hidden), variant);
      const float softcap = hidden % 4 == 0 ? 0.5f : 0;
      const NormProduct part = {storage, made.Norm(hidden), made.Matrix(storage, rows, hidden), softcap};
      const Tokens tokens(made, count, hidden, hidden % 2 == 0);
      const reference::Numbers weight(storage, part.weight);
      std::vector<reference::Row> wanted;
      for (size_t token = 0; token < count; ++token) {
        wanted.push_back(reference::NormProductOf(part, weight, tokens.At(token)));
        tightness.Add(wanted.back());
      }
      testing::ForEachTargetAndVnni([&](const std::string& target) {
        SCOPED_TRACE(target);
        Scratch scratch;
        ExpectRows(made, tokens, wanted, [&](const Stream& stream, float* to, const Parallel& parallel) {
          RunNormProduct(part, stream, to, scratch, parallel);
        });
      });
    }
  });
}

TEST(NormProduct, WhatIsNotANumberShows) {
  testing::ForEachTarget([](const std::string&) {
    Made made(1);
    const NormProduct part = {Storage::kInt4, made.Norm(64), made.Matrix(Storage::kInt4, 5, 64)};
    const Tokens tokens(made, 1, 64, true);
    tokens.x.data()[40] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> y(5);
    Scratch scratch;
    RunNormProduct(part, tokens.stream, y.data(), scratch, OnThisThread());
    for (float entry : y) EXPECT_TRUE(std::isnan(entry));
  });
}

TEST(NormFfn, IsThatOfPlainLoops) {
  Tightness tightness(1e-2);
  constexpr std::pair<size_t, Activation> kBlocks[] = {
      {1, Activation::kGeluTanh}, {31, Activation::kRelu}, {64, Activation::kSilu},
      {65, Activation::kDrelu},   {200, Activation::kSilu}, {330, Activation::kGelu}};
  ForEachVariant([&](Storage storage, const Variant& variant) {
    for (const auto& [neurons, activation] : kBlocks) {
      const size_t count = kCounts[neurons % 5], hidden = 20 + neurons % 100;
      SCOPED_TRACE(std::to_string(neurons) + ", " + std::to_string(count) + NameOf(variant));
      Made made(static_cast<uint32_t>(neurons), variant);
      NormFfn part;
      part.storage = storage;
      part.activation = activation;
      const bool normed = neurons % 4 != 1;
      if (normed) part.norm = made.Norm(hidden);
      part.gate = made.Matrix(storage, neurons, hidden);
      part.up = made.Matrix(storage, neurons, hidden);
      part.down = made.Matrix(storage, hidden, neurons);
      if (neurons % 2 == 0) part.post_norm = made.Norm(hidden);
      const Tokens tokens(made, count, hidden, normed);
      const reference::FfnNumbers numbers(part);
      std::vector<reference::Row> wanted;
      for (size_t token = 0; token < count; ++token) {
        wanted.push_back(reference::NormFfnOf(part, numbers, tokens.At(token)));
        tightness.Add(wanted.back());
      }
      testing::ForEachTarget([&](const std::string& target) {
        SCOPED_TRACE(target);
        Scratch scratch;
        ExpectRows(made, tokens, wanted, [&](const Stream& stream, float* to, const Parallel& parallel) {
          RunNormFfn(part, stream, {}, to, scratch, parallel);
        });
      });
    }
  });
}

TEST(NormFfn, LeavesOutInactiveTokens) {
  testing::ForEachTarget([](const std::string& target) {
    for (Storage storage : kStorages)
      for (const std::vector<uint8_t>& pattern : {std::vector<uint8_t>{1}, {0}, {1, 0, 0, 1, 1}, {0, 0, 0}}) {
        SCOPED_TRACE(target + ", " + std::to_string(pattern.size()));
        constexpr size_t kHidden = 70;
        const size_t count = pattern.size();
        Made made(static_cast<uint32_t>(count));
        NormFfn part;
        part.storage = storage;
        part.norm = made.Norm(kHidden);
        part.gate = made.Matrix(storage, 90, kHidden);
        part.up = made.Matrix(storage, 90, kHidden);
        part.down = made.Matrix(storage, kHidden, 90);
        part.post_norm = made.Norm(kHidden);
        const Tokens tokens(made, count, kHidden, true);
        std::vector<float> whole(count * kHidden), y(count * kHidden, NAN), saturation(count, NAN);
        Scratch scratch;
        RunNormFfn(part, tokens.stream, {}, whole.data(), scratch, OnThisThread());
        const std::unique_ptr<bool[]> active(new bool[count]);
        std::copy(pattern.begin(), pattern.end(), active.get());
        std::fill_n(tokens.sum.data(), count * kHidden, NAN);
        RunNormFfn(part, tokens.stream, {active.get(), tokens.sum.data(), saturation.data()}, y.data(), scratch,
                   testing::OnThreads(2));
        tokens.CheckSum();
        for (size_t token = 0; token < count; ++token) {
          const float* row = y.data() + token * kHidden;
          for (size_t i = 0; i < kHidden; ++i) ASSERT_EQ(row[i], active[token] ? whole[token * kHidden + i] : 0);
          const double wanted = reference::Saturation(tokens.sum.data() + token * kHidden, {row, row + kHidden});
          // For three sums.
          ASSERT_NEAR(saturation[token], active[token] ? wanted : 0, 4 * kHidden * testing::kEpsilon);
        }
      }
  });
}

struct Shape {
  size_t head_size, heads, kv_heads, hidden;
  bool normed;
  size_t window;
  float softcap;
};

// Groups of 1, 2, 3, 4 and 8 heads, and of more heads than pass over a run together.
constexpr Shape kShapes[] = {{16, 2, 1, 40, false, 0, 0},    {32, 4, 4, 64, true, 0, 20},  {48, 6, 2, 96, false, 70, 0},
                             {64, 9, 3, 64, false, 0, 0},    {96, 8, 1, 32, false, 33, 30}, {112, 3, 1, 33, true, 5, 0},
                             {128, 4, 1, 64, false, 100, 0}, {256, 4, 1, 32, true, 0, 0},  {16, 19, 1, 32, false, 0, 0}};

NormAttention MadeAttention(Made& made, Storage storage, const Shape& shape, size_t positions) {
  const auto& [size, heads, kv_heads, hidden, normed, window, softcap] = shape;
  NormAttention part;
  part.storage = storage;
  part.norm = made.Norm(hidden);
  part.query = made.Matrix(storage, heads * size, hidden);
  part.key = made.Matrix(storage, kv_heads * size, hidden);
  part.value = made.Matrix(storage, kv_heads * size, hidden);
  part.output = made.Matrix(storage, hidden, heads * size);
  part.heads = heads;
  part.kv_heads = kv_heads;
  part.head_size = size;
  if (normed) {
    part.query_norm = made.Norm(size);
    part.key_norm = made.Norm(size);
    part.post_norm = made.Norm(hidden);
  }
  std::vector<float> cosines, sines;
  for (size_t i = 0; i < positions * size / 2; ++i) {
    const float angle = static_cast<float>(i / (size / 2)) / static_cast<float>(1 + i % (size / 2));
    cosines.push_back(std::cos(angle));
    sines.push_back(std::sin(angle));
  }
  part.cosines = made.Keep(cosines).data();
  part.sines = made.Keep(sines).data();
  part.scale = 1 / std::sqrt(static_cast<float>(size));
  part.softcap = softcap;
  part.window = window;
  return part;
}

constexpr CacheFormat kFormats[] = {CacheFormat::kFp32, CacheFormat::kFp16, CacheFormat::kInt8};

std::string NameOf(CacheFormat format) {
  return format == CacheFormat::kFp32 ? ", fp32" : format == CacheFormat::kFp16 ? ", fp16" : ", int8";
}

// An entry of a head's cache.
float EntryOf(CacheFormat format, const float* head, size_t size, size_t position, size_t i) {
  if (format == CacheFormat::kFp32) return head[position * size + i];
  const size_t run = position / 64, at = position % 64;
  if (format == CacheFormat::kFp16) {
    const auto* halves = reinterpret_cast<const uint16_t*>(head) + run * 64 * size;
    return hwy::F32FromF16(hwy::float16_t::FromBits(halves[at * size + i]));
  }
  const size_t parts = (size + 63) / 64;
  const auto* codes = reinterpret_cast<const int8_t*>(head) + run * 64 * (size + 4 * parts);
  float scale;
  std::memcpy(&scale, codes + 64 * size + 4 * (at * parts + i / 64), sizeof scale);
  return static_cast<float>(codes[at * size + i]) * scale;
}

// What a cache may hold of a row's heads.
reference::Row Rounded(CacheFormat format, const reference::Row& row, size_t size) {
  reference::Row rounded = row;
  for (size_t i = 0; format != CacheFormat::kFp32 && i < row.size(); ++i) {
    double largest = 0;
    const size_t first = i / size * size, part = first + (i - first) / 64 * 64;
    for (size_t j = part; j < std::min(part + 64, first + size); ++j)
      largest = std::max(largest, std::abs(row[j].value) + row[j].error);
    // Half of the distance between neighbours, and for codes the rounding of the scale and of two products.
    rounded[i].error += format == CacheFormat::kFp16 ? std::max(std::abs(row[i].value) + row[i].error, 0x1p-14) * 0x1p-11
                                                     : largest / 127 * (0.5 + 127 * 4 * testing::kEpsilon);
  }
  return rounded;
}

// A row of tokens, fed in chunks with a cache in place.
struct FedRow {
  FedRow(const NormAttention& part, const Tokens& tokens, const std::vector<size_t>& chunks, size_t positions,
         const Parallel& parallel, CacheLayout layout_ = {})
      : size(part.head_size),
        capacity(CacheCapacity(layout_, positions, size)),
        layout(layout_),
        format(layout_.format),
        keys(part.kv_heads * capacity * size, NAN),
        values(keys),
        y(tokens.count * tokens.hidden) {
    Feed(part, tokens, 0, chunks, parallel);
  }
  // Feeds tokens after those up to `seen`.
  void Feed(const NormAttention& part, const Tokens& tokens, size_t seen, const std::vector<size_t>& chunks,
            const Parallel& parallel) {
    Scratch scratch;
    for (size_t count : chunks) {
      const Cache cache = {keys.data(), values.data(), capacity, keys.data(), values.data(), capacity, &seen, 1, layout};
      RunNormAttention(part, tokens.From(seen, count), cache, y.data() + seen * tokens.hidden, scratch, parallel);
      seen += count;
    }
  }
  // A position's entries of all heads.
  std::vector<float> At(const std::vector<float>& cache, size_t position) const {
    std::vector<float> entries;
    for (size_t head = 0; head < cache.size(); head += capacity * size)
      for (size_t i = 0; i < size; ++i) entries.push_back(EntryOf(format, cache.data() + head, size, position, i));
    return entries;
  }

  size_t size, capacity;
  CacheLayout layout;
  CacheFormat format;
  std::vector<float> keys, values, y;
};

// Keys and values are compared with plain loops where they are made. The attention is compared with loops over those
// very numbers, because otherwise a tie at one position would loosen everything that follows.
TEST(NormAttention, IsThatOfPlainLoops) {
  // Averages of many values are small compared with the steps that they are rounded to, and many may go either way. A
  // wrong key, angle or weight moves outputs by their own size.
  Tightness tightness(1e-2), outputs(0.25);
  // Narrow caches do not depend on the storage of weights.
  std::vector<std::pair<Storage, CacheFormat>> stored = {{Storage::kInt4, CacheFormat::kFp16}, {Storage::kInt4, CacheFormat::kInt8}};
  for (Storage storage : kStorages) stored.emplace_back(storage, CacheFormat::kFp32);
  for (const auto& [storage, format] : stored)
    for (size_t i = 0; i < std::size(kShapes); ++i) {
      const Shape& shape = kShapes[i];
      const Variant& variant = kVariants[i % std::size(kVariants)];
      SCOPED_TRACE("heads of " + std::to_string(shape.head_size) + NameOf(variant) + NameOf(format));
      constexpr size_t kTokens = 140;
      Made made(static_cast<uint32_t>(shape.head_size), variant);
      const NormAttention part = MadeAttention(made, storage, shape, kTokens);
      const Tokens tokens(made, kTokens, shape.hidden, true);
      const reference::AttentionNumbers numbers(part);
      std::vector<reference::Projected> wanted;
      for (size_t token = 0; token < kTokens; ++token) {
        wanted.push_back(reference::ProjectedOf(part, numbers, tokens.At(token), token));
        for (const reference::Row& row : {wanted.back().keys, wanted.back().values}) tightness.Add(row);
      }
      testing::ForEachTarget([&, format = format](const std::string& target) {
        SCOPED_TRACE(target);
        tokens.Forget();
        const FedRow fed(part, tokens, {kTokens}, 150, testing::OnThreads(3), {format});
        tokens.CheckSum();
        std::vector<reference::Row> keys, values;
        for (size_t token = 0; token < kTokens; ++token) {
          const std::vector<float> key = fed.At(fed.keys, token), value = fed.At(fed.values, token);
          ExpectRow(key.data(), Rounded(format, wanted[token].keys, shape.head_size));
          ExpectRow(value.data(), Rounded(format, wanted[token].values, shape.head_size));
          keys.push_back(reference::Exact(key.data(), key.size()));
          values.push_back(reference::Exact(value.data(), value.size()));
          const reference::Row y = reference::AttendedOf(part, numbers, wanted[token].queries, keys, values);
          ExpectRow(fed.y.data() + token * shape.hidden, y);
          outputs.Add(y);
        }
        const std::vector<size_t> ones(kTokens, 1);
        EXPECT_EQ(FedRow(part, tokens, ones, 140, OnThisThread(), {format}).y, fed.y);
        EXPECT_EQ(FedRow(part, tokens, {65, 1, 70, 4}, 140, testing::OnThreads(2), {format}).y, fed.y);
        EXPECT_EQ(FedRow(part, tokens, {2, 3, 5, 11, 28, 91}, 140, testing::OnThreads(7), {format}).y, fed.y);
      });
    }
}

// NaN at a position shows in the tokens that see it and in no other, whatever passes with them.
TEST(NormAttention, WhatIsNotANumberShowsWhereItIsSeen) {
  testing::ForEachTarget([](const std::string&) {
    for (size_t i = 0; i < std::size(kShapes); ++i) {
      const Shape& shape = kShapes[i];
      const CacheFormat format = kFormats[i % std::size(kFormats)];
      SCOPED_TRACE("heads of " + std::to_string(shape.head_size) + NameOf(format));
      constexpr size_t kTokens = 90, kBad = 70;
      Made made(3);
      const NormAttention part = MadeAttention(made, Storage::kInt4, shape, kTokens);
      const Tokens tokens(made, kTokens, shape.hidden, false);
      tokens.x.data()[kBad * shape.hidden] = NAN;
      const FedRow fed(part, tokens, {kTokens}, kTokens, OnThisThread(), {format});
      for (size_t token = 0; token < kTokens; ++token) {
        const bool sees = token >= kBad && (shape.window == 0 || token < kBad + shape.window);
        EXPECT_EQ(std::isnan(fed.y[token * shape.hidden]), sees) << token;
      }
    }
  });
}

// Two rows at once, after pasts of different lengths, into caches that are not the past.
void ExpectRowsApart(const Shape& shape, size_t count) {
  constexpr size_t kPast = 9;
  const size_t capacity = 8 + count;
  Made made(7);
  const NormAttention part = MadeAttention(made, Storage::kInt4, shape, capacity);
  const Tokens tokens(made, 2 * count, shape.hidden, false);
  const size_t head = part.kv_heads * part.head_size;
  const Misaligned &past_keys = made.Rows(2 * kPast, head), &past_values = made.Rows(2 * kPast, head);
  std::vector<float> keys(2 * capacity * head, NAN), values(keys), y(tokens.count * shape.hidden);
  const size_t seen[] = {8, 5};
  const Cache both = {past_keys.data(), past_values.data(), kPast, keys.data(), values.data(), capacity, seen, 2};
  Scratch scratch;
  RunNormAttention(part, tokens.stream, both, y.data(), scratch, testing::OnThreads(3));
  for (size_t row = 0; row < 2; ++row) {
    std::vector<float> own_keys(capacity * head, NAN), own_values(own_keys), own(count * shape.hidden);
    const Cache cache = {past_keys.data() + row * kPast * head, past_values.data() + row * kPast * head, kPast,
                         own_keys.data(), own_values.data(), capacity, seen + row, 1};
    RunNormAttention(part, tokens.From(row * count, count), cache, own.data(), scratch, OnThisThread());
    for (size_t i = 0; i < own.size(); ++i) ASSERT_EQ(own[i], y[row * own.size() + i]);
    for (size_t i = 0; i < own_keys.size(); ++i) {
      ASSERT_EQ(own_keys[i], keys[row * own_keys.size() + i]);
      ASSERT_EQ(own_values[i], values[row * own_keys.size() + i]);
    }
    // The past, [kv head, position, head size], then the new tokens, then zeros.
    for (size_t kv_head = 0; kv_head < part.kv_heads; ++kv_head) {
      const float* from = past_keys.data() + (row * part.kv_heads + kv_head) * kPast * part.head_size;
      const float* to = own_keys.data() + kv_head * capacity * part.head_size;
      for (size_t i = 0; i < seen[row] * part.head_size; ++i) ASSERT_EQ(to[i], from[i]);
      for (size_t i = (seen[row] + count) * part.head_size; i < capacity * part.head_size; ++i) ASSERT_EQ(to[i], 0);
    }
  }
}

TEST(NormAttention, RowsDoNotSeeEachOther) {
  for (size_t count : {1, 3, 45}) {
    SCOPED_TRACE(count);
    ExpectRowsApart(kShapes[2], count);
  }
}

// The same in narrow caches, which are their own past.
TEST(NormAttention, RowsOfNarrowCachesDoNotSeeEachOther) {
  for (CacheFormat format : {CacheFormat::kFp16, CacheFormat::kInt8}) {
    SCOPED_TRACE(NameOf(format));
    const Shape& shape = kShapes[2];
    constexpr size_t kPositions = 70;
    const size_t pasts[] = {66, 5};
    Made made(8);
    const NormAttention part = MadeAttention(made, Storage::kInt4, shape, kPositions);
    const Tokens tokens(made, kPositions, shape.hidden, false);
    std::vector<FedRow> alone, fed;
    std::vector<float> keys, values, x, y(2 * shape.hidden);
    for (size_t past : pasts) {
      fed.emplace_back(part, tokens, std::vector<size_t>{past}, kPositions, OnThisThread(), CacheLayout{format});
      alone.emplace_back(part, tokens, std::vector<size_t>{past, 1}, kPositions, OnThisThread(), CacheLayout{format});
      keys.insert(keys.end(), fed.back().keys.begin(), fed.back().keys.end());
      values.insert(values.end(), fed.back().values.begin(), fed.back().values.end());
      const float* token = tokens.x.data() + past * shape.hidden;
      x.insert(x.end(), token, token + shape.hidden);
    }
    Stream stream;
    stream.tokens = 2;
    stream.x = x.data();
    const size_t capacity = fed[0].capacity;
    const Cache both = {keys.data(), values.data(), capacity, keys.data(), values.data(), capacity, pasts, 2, {format}};
    Scratch scratch;
    RunNormAttention(part, stream, both, y.data(), scratch, testing::OnThreads(2));
    for (size_t row = 0; row < 2; ++row)
      for (size_t i = 0; i < shape.hidden; ++i)
        ASSERT_EQ(y[row * shape.hidden + i], alone[row].y[pasts[row] * shape.hidden + i]) << row;
  }
}

// Attention to few tokens. few_keys_test.cc compares it with plain loops; here it is what decoding makes of it.

// Shapes without a window, in every format.
template <class Check>
void ForEachFew(Check check) {
  testing::ForEachTarget([&](const std::string& target) {
    for (size_t i = 0; i < std::size(kShapes); ++i) {
      Shape shape = kShapes[i];
      shape.window = 0;
      const CacheFormat format = kFormats[i % std::size(kFormats)];
      SCOPED_TRACE(target + ", heads of " + std::to_string(shape.head_size) + NameOf(format));
      Made made(11);
      constexpr size_t kTokens = 150;
      const NormAttention part = MadeAttention(made, Storage::kInt4, shape, kTokens);
      check(part, Tokens(made, kTokens, shape.hidden, false), format);
    }
  });
}

// What a query head attends to by plain loops. Says whether they are sure to choose the same tokens.
reference::Row AttendedToFewOf(const NormAttention& part, const FedRow& fed, const reference::Row& queries, size_t head,
                               size_t visible, bool& is_sure) {
  const size_t size = part.head_size, kv_head = head / (part.heads / part.kv_heads);
  const float* keys = fed.keys.data() + kv_head * fed.capacity * size;
  std::vector<float> query, key_rows, value_rows;
  double off = 0;
  for (size_t j = 0; j < visible; ++j) {
    const float* run = keys + j / kCacheRun * (KeyRunBytes(fed.layout, size) / sizeof(float));
    const float* value = fed.values.data() + (kv_head * fed.capacity + j) * size;
    key_rows.insert(key_rows.end(), run + j % kCacheRun * size, run + (j % kCacheRun + 1) * size);
    value_rows.insert(value_rows.end(), value, value + size);
    double sum = 0;
    for (size_t i = 0; i < size; ++i) sum += queries[head * size + i].error * std::abs(key_rows[j * size + i]);
    off = std::max(off, sum * part.scale);
  }
  for (size_t i = 0; i < size; ++i) query.push_back(static_cast<float>(queries[head * size + i].value));
  const reference::FewKeys few = {size,          visible,      fed.layout.attended, part.scale,
                                  part.softcap, query.data(), key_rows.data(),     value_rows.data()};
  reference::Row predicted = reference::PredictedScores(few);
  for (reference::Bounded& score : predicted) score.error += off;
  // An entry of the query that may be rounded to another code moves scores by a step of it times the key's.
  for (size_t first = 0; first < size; first += kCachePart) {
    const size_t end = std::min(size, first + kCachePart);
    double largest = 0;
    for (size_t i = first; i < end; ++i) largest = std::max<double>(largest, std::abs(query[i]));
    for (size_t i = first; i < end; ++i) {
      const double steps = query[i] / largest * 127, slack = 2 * queries[head * size + i].error / largest * 127 + 1e-4;
      if (0.5 - std::abs(steps - std::nearbyint(steps)) > slack) continue;
      for (size_t j = 0; j < visible; ++j) {
        const std::vector<double> key = reference::CodedParts(key_rows.data() + j * size, size, 7);
        predicted[j].error += largest / 127 * std::abs(key[i]) * part.scale;
      }
    }
  }
  const std::vector<bool> chosen = reference::Chosen(few, predicted);
  double least = std::numeric_limits<double>::infinity(), most = -least, largest_value = 0;
  for (size_t j = kFirstTokens; j < visible - kNewestTokens; ++j) {
    if (chosen[j]) least = std::min(least, predicted[j].value - predicted[j].error);
    if (!chosen[j]) most = std::max(most, predicted[j].value + predicted[j].error);
  }
  is_sure = is_sure && least > most && reference::IsSureOfShare(few, predicted);
  reference::Row attended = reference::AttendedOf(few, predicted, chosen);
  for (float value : value_rows) largest_value = std::max<double>(largest_value, std::abs(value));
  // All weights are as far off as their scores, and so is their sum.
  for (reference::Bounded& entry : attended) entry.error += 2 * std::expm1(off) * largest_value;
  return attended;
}

// Results of some tokens.
std::vector<float> Of(const FedRow& fed, const Tokens& tokens, size_t first, size_t end) {
  return {fed.y.begin() + static_cast<std::ptrdiff_t>(first * tokens.hidden),
          fed.y.begin() + static_cast<std::ptrdiff_t>(end * tokens.hidden)};
}

// Caches in fp32 hold the numbers that the reference needs; few_keys_test.cc has the other formats. Queries are known up to their
// errors. Where these may change which tokens are chosen, a head cannot be compared, and neither can its token.
TEST(FewAttended, IsThatOfPlainLoops) {
  size_t compared = 0, skipped = 0;
  testing::ForEachTarget([&](const std::string& target) {
    for (size_t i = 0; i < std::size(kShapes); ++i) {
      Shape shape = kShapes[i];
      shape.window = 0;
      SCOPED_TRACE(target + ", heads of " + std::to_string(shape.head_size));
      constexpr size_t kTokens = 150, kPrompt = 140, kAttended = 64;
      Made made(14);
      const NormAttention part = MadeAttention(made, Storage::kInt4, shape, kTokens);
      const Tokens tokens(made, kTokens, shape.hidden, false);
      std::vector<size_t> chunks(1 + kTokens - kPrompt, 1);
      chunks[0] = kPrompt;
      const FedRow fed(part, tokens, chunks, kTokens, testing::OnThreads(3), {CacheFormat::kFp32, kAttended});
      const reference::AttentionNumbers numbers(part);
      for (size_t token = kPrompt; token < kTokens; ++token) {
        const reference::Projected projected = reference::ProjectedOf(part, numbers, tokens.At(token), token);
        reference::Row attended;
        bool is_sure = true;
        for (size_t head = 0; is_sure && head < part.heads; ++head) {
          const reference::Row one = AttendedToFewOf(part, fed, projected.queries, head, token + 1, is_sure);
          attended.insert(attended.end(), one.begin(), one.end());
        }
        ++(is_sure ? compared : skipped);
        if (!is_sure) continue;
        reference::Row y = numbers.output.Times(reference::Coded(attended));
        if (part.post_norm.weight != nullptr) y = reference::Normed(part.post_norm, y);
        ExpectRow(fed.y.data() + token * shape.hidden, y);
      }
    }
  });
  EXPECT_GT(compared, skipped);
}

TEST(FewAttended, NothingIsLeftOutOfAPromptNorOfAsManyTokens) {
  ForEachFew([](const NormAttention& part, const Tokens& tokens, CacheFormat format) {
    const FedRow all(part, tokens, {150}, 150, OnThisThread(), {format});
    EXPECT_EQ(FedRow(part, tokens, {40, 110}, 150, testing::OnThreads(3), {format, 64}).y, all.y);
    const std::vector<size_t> ones(150, 1);
    EXPECT_EQ(FedRow(part, tokens, ones, 150, testing::OnThreads(2), {format, 150}).y, all.y);
    const FedRow few(part, tokens, ones, 150, testing::OnThreads(2), {format, 100});
    EXPECT_EQ(Of(few, tokens, 0, 100), Of(all, tokens, 0, 100));
    EXPECT_NE(Of(few, tokens, 100, 101), Of(all, tokens, 100, 101));
  });
}

// Of few tokens left out, the weight is hardly changed, and small, so little else is; of more, more is.
TEST(FewAttended, LeavesOutWhatMattersLeast) {
  ForEachFew([](const NormAttention& part, const Tokens& tokens, CacheFormat format) {
    const FedRow all(part, tokens, {150}, 150, OnThisThread(), {format});
    const auto distance = [&](size_t attended) {
      FedRow few(part, tokens, {149, 1}, 150, testing::OnThreads(3), {format, attended});
      double squares = 0, sizes = 0;
      for (size_t i = 149 * tokens.hidden; i < few.y.size(); ++i) {
        squares += (few.y[i] - all.y[i]) * (few.y[i] - all.y[i]);
        sizes += all.y[i] * all.y[i];
      }
      return std::sqrt(squares / sizes);
    };
    // A weight is at most a 114th, that of the least of as many, and those of tokens that predict too little are below kLeastShare
    // together. The input of the last product is rounded to 127 steps, of which an entry may take the next.
    const double most = distance(64);
    EXPECT_LT(distance(149), std::min<double>(most, 2 * (kLeastShare + 1.0 / 114) + 2.0 / 127));
    EXPECT_GT(most, 0);
    // Random keys differ little, so the mean of what is left out says a lot of it.
    EXPECT_LT(most, 0.5);
  });
}

TEST(FewAttended, ATokenHasTheSameBitsWhateverCameBeforeItTogether) {
  ForEachFew([](const NormAttention& part, const Tokens& tokens, CacheFormat format) {
    std::vector<size_t> chunks = {110}, parts = {64, 3, 43}, ones(150, 1);
    chunks.insert(chunks.end(), 40, 1);
    parts.insert(parts.end(), 40, 1);
    const FedRow one(part, tokens, chunks, 150, OnThisThread(), {format, 64});
    const FedRow other(part, tokens, parts, 200, testing::OnThreads(7), {format, 64});
    EXPECT_EQ(one.y, other.y);
    EXPECT_EQ(one.y, FedRow(part, tokens, chunks, 150, testing::OnThreads(2), {format, 64}).y);
  });
}

// From an earlier token on, another text overwrites keys, sketches and sums.
TEST(FewAttended, ATextGoesOnFromAnEarlierToken) {
  ForEachFew([](const NormAttention& part, const Tokens& tokens, CacheFormat format) {
    Made made(12);
    const Tokens other(made, tokens.count, tokens.hidden, false);
    for (size_t back : {70, 96, 128}) {
      std::vector<size_t> ones(150 - back, 1);
      // The other text's beginning is this one's.
      FedRow fed(part, tokens, {150}, 150, OnThisThread(), {format, 64});
      fed.Feed(part, other, back, ones, testing::OnThreads(2));
      FedRow fresh(part, tokens, {back}, 150, OnThisThread(), {format, 64});
      fresh.Feed(part, other, back, ones, OnThisThread());
      EXPECT_EQ(Of(fed, tokens, back, 150), Of(fresh, tokens, back, 150)) << back;
    }
  });
}

// Rows that decode together, some of which see few tokens.
TEST(FewAttended, RowsDoNotSeeEachOther) {
  ForEachFew([](const NormAttention& part, const Tokens& tokens, CacheFormat format) {
    const size_t pasts[] = {140, 9, 80}, rows = std::size(pasts);
    std::vector<FedRow> alone;
    std::vector<float> keys, values, x, y(rows * tokens.hidden);
    for (size_t past : pasts) {
      const FedRow fed(part, tokens, {past}, 150, OnThisThread(), {format, 64});
      alone.emplace_back(part, tokens, std::vector<size_t>{past, 1}, 150, OnThisThread(), CacheLayout{format, 64});
      keys.insert(keys.end(), fed.keys.begin(), fed.keys.end());
      values.insert(values.end(), fed.values.begin(), fed.values.end());
      const float* token = tokens.x.data() + past * tokens.hidden;
      x.insert(x.end(), token, token + tokens.hidden);
    }
    Stream stream;
    stream.tokens = rows;
    stream.x = x.data();
    const size_t capacity = alone[0].capacity;
    const Cache all = {keys.data(), values.data(), capacity, keys.data(), values.data(), capacity, pasts, rows, {format, 64}};
    Scratch scratch;
    RunNormAttention(part, stream, all, y.data(), scratch, testing::OnThreads(3));
    for (size_t row = 0; row < rows; ++row)
      for (size_t i = 0; i < tokens.hidden; ++i)
        ASSERT_EQ(y[row * tokens.hidden + i], alone[row].y[pasts[row] * tokens.hidden + i]) << row;
  });
}

// A window is few tokens already, and its cache is as without.
TEST(FewAttended, WindowsAreReadAsAWhole) {
  for (const Shape& shape : kShapes) {
    if (shape.window == 0) continue;
    Made made(13);
    const NormAttention part = MadeAttention(made, Storage::kInt4, shape, 150);
    const Tokens tokens(made, 150, shape.hidden, false);
    const std::vector<size_t> ones(150, 1);
    const FedRow all(part, tokens, ones, 150, OnThisThread());
    EXPECT_EQ(FedRow(part, tokens, ones, 150, OnThisThread(), {CacheFormat::kFp32, 64}).y, all.y);
  }
}

}  // namespace
}  // namespace lacuna
