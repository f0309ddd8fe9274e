// Attention to few keys against plain loops: heads of every size, caches of every format, every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/few_keys_test.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/few_keys-inl.h"

#ifndef LACUNA_TESTS_FEW_KEYS_HEAD_
#define LACUNA_TESTS_FEW_KEYS_HEAD_
namespace lacuna {

// A head's cache, and a query.
struct Head {
  CacheLayout layout;
  size_t size, visible;
  float scale, softcap;
  uint8_t* keys;
  uint8_t* values;
  const float* query;
};

struct Chosen {
  size_t count;
  float least, rest;
};

}  // namespace lacuna
#endif

HWY_BEFORE_NAMESPACE();
namespace lacuna {
namespace HWY_NAMESPACE {

HeadCache KeysOf(const Head& head) {
  return {head.layout.format, head.keys, head.size, KeyRunBytes(head.layout, head.size)};
}
HeadCache ValuesOf(const Head& head) {
  return {head.layout.format, head.values, head.size, CacheRunBytes(head.layout.format, head.size)};
}
Sketch SketchOf(const Head& head) { return {KeysOf(head), head.layout.format, head.size, head.scale, head.softcap}; }

// Keeps the tokens from `first` on, [visible, size].
void Keep(const Head& head, size_t first, const float* keys, const float* values) {
  for (size_t j = first; j < head.visible; ++j) {
    KeysOf(head).Store(j, keys + j * head.size);
    SketchOf(head).Store(j, keys + j * head.size);
    ValuesOf(head).Store(j, values + j * head.size);
    if (j % kCacheRun == kCacheRun - 1) SketchOf(head).Sum(j / kCacheRun, ValuesOf(head));
  }
}

void Read(const Head& head, float* keys, float* values) {
  for (size_t j = 0; j < head.visible; ++j) {
    KeysOf(head).WidenPosition(j, keys + j * head.size);
    ValuesOf(head).WidenPosition(j, values + j * head.size);
  }
}

// Scores of whole runs for `count` times the same query.
// Returns the sums of runs of the first.
std::vector<RunSums> PredictFor(const Head& head, size_t count, float* scores) {
  std::vector<CodedQuery> coded(count);
  for (CodedQuery& query : coded) SketchOf(head).Code(head.query, query);
  const size_t runs = DivideUp(head.visible, kCacheRun);
  std::vector<RunSums> sums(count * runs);
  for (size_t run = 0; run < runs; ++run)
    SketchOf(head).Predict(run, std::min(head.visible - run * kCacheRun, kCacheRun), coded.data(), count, scores + run * kCacheRun,
                           runs * kCacheRun, sums.data() + run, runs);
  return sums;
}
// The sums are [count, runs] largest scores and weights.
void Predict(const Head& head, size_t count, float* scores, float* largest, float* weights) {
  for (const RunSums& sum : PredictFor(head, count, scores)) *largest++ = sum.largest, *weights++ = sum.weights;
}

// Returns what FewKeys::Choice has. Also counts how often each position was fetched.
Chosen Choose(size_t visible, size_t most, float* scores, uint32_t* chosen, size_t* fetched) {
  std::vector<RunSums> sums(DivideUp(visible, kCacheRun));
  for (size_t j = 0; j < visible; ++j) sums[j / kCacheRun].largest = std::max(sums[j / kCacheRun].largest, scores[j]);
  for (size_t j = 0; j < visible; ++j)
    sums[j / kCacheRun].weights += scores[j] == sums[j / kCacheRun].largest ? 1 : std::exp(scores[j] - sums[j / kCacheRun].largest);
  std::fill(scores + visible, scores + sums.size() * kCacheRun, -std::numeric_limits<float>::infinity());
  const FewKeys::Choice choice =
      FewKeys::Choose(visible, most, scores, sums.data(), chosen, [&](size_t position) { ++fetched[position]; });
  return {choice.count, choice.least, choice.rest};
}

// Returns how many were attended to.
size_t Attend(const Head& head, float* scores, uint32_t* chosen, float* y) {
  std::vector<float> weights(DivideUp(head.visible, kCacheRun) * kCacheRun);
  const std::vector<RunSums> sums = PredictFor(head, 1, scores);
  const Attention attention(head.size, head.scale, head.softcap);
  const FewKeys few(attention, KeysOf(head), ValuesOf(head), SketchOf(head), head.size);
  return few.Attend(head.query, head.visible, head.layout.attended, {scores, sums.data(), chosen, weights.data()}, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace lacuna
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "reference/few_keys.h"
#include "tests/testing.h"

namespace lacuna {
namespace {

HWY_EXPORT(Keep);
HWY_EXPORT(Read);
HWY_EXPORT(Predict);
HWY_EXPORT(Choose);
HWY_EXPORT(Attend);

using reference::Bounded;

constexpr size_t kSizes[] = {16, 48, 64, 80, 128, 256};
constexpr CacheFormat kFormats[] = {CacheFormat::kFp32, CacheFormat::kFp16, CacheFormat::kInt8};

// A head that was kept, and its floats. Scores spread over about +-6, as those of trained heads do.
struct Kept {
  Kept(uint32_t seed, size_t size, size_t visible, size_t attended, CacheFormat format, float softcap = 0)
      : keys(testing::Random(seed).Floats(visible * size)),
        values(testing::Random(seed + 1).Floats(visible * size)),
        query(testing::Random(seed + 2).Floats(size, 2)),
        runs((visible + kCacheRun - 1) / kCacheRun),
        key_bytes(runs * KeyRunBytes({format, attended}, size) / 4),
        value_bytes(runs * CacheRunBytes(format, size) / 4) {
    head = {{format, attended}, size, visible, 1 / std::sqrt(static_cast<float>(size)), softcap,
            reinterpret_cast<uint8_t*>(key_bytes.data()), reinterpret_cast<uint8_t*>(value_bytes.data()), query.data()};
    KeepFrom(0);
  }
  void KeepFrom(size_t first) { HWY_DYNAMIC_DISPATCH(Keep)(head, first, keys.data(), values.data()); }

  // Its numbers as the cache gives them back. Codes come from the keys as they were.
  reference::FewKeys Plain(const float* read_keys, const float* read_values) const {
    return {head.size, head.visible, head.layout.attended, head.scale, head.softcap, query.data(), read_keys, read_values};
  }

  std::vector<float> keys, values, query;
  size_t runs;
  std::vector<float> key_bytes, value_bytes;
  Head head;
};

struct Result {
  explicit Result(const Kept& kept) : scores(kept.runs * kCacheRun), chosen(scores.size()), y(kept.head.size) {
    chosen.resize(HWY_DYNAMIC_DISPATCH(Attend)(kept.head, scores.data(), chosen.data(), y.data()));
  }
  std::vector<float> scores;
  std::vector<uint32_t> chosen;
  std::vector<float> y;
};

template <class Check>
void ForEachHead(Check check) {
  testing::ForEachTargetAndVnni([&](const std::string& target) {
    uint32_t seed = 1;
    for (size_t size : kSizes) {
      for (CacheFormat format : kFormats) {
        SCOPED_TRACE(target + ", heads of " + std::to_string(size) + ", format " + std::to_string(static_cast<int>(format)));
        check(++seed, size, format);
      }
    }
  });
}

TEST(FewKeys, PredictedScoresAreThoseOfPlainLoops) {
  ForEachHead([](uint32_t seed, size_t size, CacheFormat format) {
    const Kept kept(seed, size, 150, 64, format, seed % 2 == 0 ? 0.0f : 5.0f);
    const reference::Row wanted = reference::PredictedScores(kept.Plain(kept.keys.data(), kept.values.data()));
    for (size_t count : {1, 3, 4, 7}) {
      std::vector<float> scores(count * kept.runs * kCacheRun), largest(count * kept.runs), weights(largest);
      HWY_DYNAMIC_DISPATCH(Predict)(kept.head, count, scores.data(), largest.data(), weights.data());
      for (size_t q = 0; q < count; ++q) {
        const float* of = scores.data() + q * kept.runs * kCacheRun;
        for (size_t j = 0; j < kept.head.visible; ++j) ASSERT_NEAR(of[j], wanted[j].value, wanted[j].error) << q << ", " << j;
        for (size_t j = kept.head.visible; j < kept.runs * kCacheRun; ++j) ASSERT_EQ(of[j], -INFINITY);
        for (size_t run = 0; run < kept.runs; ++run) {
          const size_t at = q * kept.runs + run;
          ASSERT_EQ(largest[at], *std::max_element(of + run * kCacheRun, of + (run + 1) * kCacheRun));
          double sum = 0;
          for (size_t j = run * kCacheRun; j < (run + 1) * kCacheRun; ++j) sum += std::exp(static_cast<double>(of[j] - largest[at]));
          ASSERT_NEAR(weights[at], sum, kCacheRun * testing::kEpsilon * sum);
        }
      }
    }
  });
}

// Rounding moves a score by half a step of each entry at most: of keys a fourteenth of the largest, of queries a 254th.
TEST(FewKeys, PredictedScoresAreNearTheExactOnes) {
  ForEachHead([](uint32_t seed, size_t size, CacheFormat format) {
    const Kept kept(seed, size, 100, 64, format);
    std::vector<float> scores(kept.runs * kCacheRun), largest(kept.runs), weights(largest);
    HWY_DYNAMIC_DISPATCH(Predict)(kept.head, 1, scores.data(), largest.data(), weights.data());
    for (size_t j = 0; j < kept.head.visible; ++j) {
      double exact = 0, bound = 1e-5;
      for (size_t first = 0; first < size; first += kCachePart) {
        const size_t end = std::min(size, first + kCachePart);
        double most_key = 0, most_query = 0;
        for (size_t i = first; i < end; ++i) {
          most_key = std::max<double>(most_key, std::abs(kept.keys[j * size + i]));
          most_query = std::max<double>(most_query, std::abs(kept.query[i]));
        }
        for (size_t i = first; i < end; ++i) {
          const double key = kept.keys[j * size + i], query = kept.query[i];
          exact += key * query;
          bound += std::abs(query) * most_key / 14 + (std::abs(key) + most_key / 14) * most_query / 254;
        }
      }
      ASSERT_NEAR(scores[j], exact * kept.head.scale, bound * kept.head.scale * (1 + 1e-5)) << j;
    }
  });
}

// At most k positions: always the first and the newest, and none left out that has a larger score than one chosen. Fewer than k only
// where all others predict less than a share of all weight. Returns how many.
size_t ExpectChoice(std::vector<float> scores, size_t visible, size_t most) {
  const std::vector<float> before = scores;
  std::vector<uint32_t> chosen(scores.size());
  std::vector<size_t> fetched(visible);
  const auto [count, least, rest] = HWY_DYNAMIC_DISPATCH(Choose)(visible, most, scores.data(), chosen.data(), fetched.data());
  const size_t newest = visible - kNewestTokens;
  std::vector<bool> is_chosen(visible);
  EXPECT_LE(count, most);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_LT(chosen[i], visible);
    if (i > 0) EXPECT_LT(chosen[i - 1], chosen[i]);
    is_chosen[chosen[i]] = true;
  }
  float smallest = std::numeric_limits<float>::infinity(), largest = -smallest;
  double left_out = 0;
  size_t last_equal = 0;
  for (size_t j = 0; j < visible; ++j) {
    if (j < kFirstTokens || j >= newest) {
      EXPECT_TRUE(is_chosen[j]) << j;
    } else if (is_chosen[j]) {
      smallest = std::min(smallest, before[j]);
    } else {
      largest = std::max(largest, before[j]);
      // An infinite score is as large as an infinite least one.
      left_out += before[j] == least ? 1 : std::exp(before[j] - least);
    }
    // What is chosen is fetched, and what equals it perhaps.
    if (is_chosen[j]) EXPECT_EQ(fetched[j], 1U) << j;
    if (fetched[j] > 0 && !is_chosen[j]) EXPECT_EQ(before[j], least) << j;
  }
  // An exponential is known to 3 roundings, and a lane adds a 4th of them at most.
  EXPECT_NEAR(rest, left_out, (static_cast<double>(visible) / 4 + 8) * testing::kEpsilon * left_out);
  EXPECT_LE(largest, smallest);
  EXPECT_LE(largest, least);
  // Of equal scores, the first are chosen.
  for (size_t j = kFirstTokens; j < newest; ++j) {
    if (before[j] != smallest || largest != smallest) continue;
    if (is_chosen[j]) {
      EXPECT_TRUE(last_equal == 0) << j;
    } else {
      last_equal = j;
    }
  }
  reference::Row all(visible);
  for (size_t j = 0; j < visible; ++j) all[j].value = before[j];
  // Of the largest score, and of a sum of exponentials.
  const double floor = reference::LeastOfShare(all), off = (std::abs(floor) + static_cast<double>(visible)) * testing::kEpsilon;
  if (std::isfinite(floor)) {
    EXPECT_GE(smallest, floor - off);
    if (count < most) EXPECT_LT(largest, floor + off);
  }
  return count;
}

TEST(FewKeys, ChoosesTheLargestScores) {
  testing::ForEachTarget([](const std::string& target) {
    SCOPED_TRACE(target);
    testing::Random random(3);
    size_t few = 0;
    for (size_t visible : {65, 80, 96, 127, 128, 500, 1043}) {
      for (size_t wanted : {size_t{64}, size_t{100}, visible - 1}) {
        if (wanted >= visible) continue;
        const size_t padded = (visible + kCacheRun - 1) / kCacheRun * kCacheRun;
        SCOPED_TRACE(std::to_string(wanted) + " of " + std::to_string(visible));
        std::vector<float> scores = random.Floats(padded, 3);
        few += ExpectChoice(scores, visible, wanted) < wanted;
        // Far from zero, so that few bits tell them apart; in few levels, so that many are equal; all equal.
        std::vector<float> far = scores, levels = scores;
        for (float& score : far) score = 1000 + score / 100;
        // All weigh about as much, so none predicts too little.
        EXPECT_EQ(ExpectChoice(far, visible, wanted), wanted);
        for (float& score : levels) score = std::round(score);
        ExpectChoice(levels, visible, wanted);
        ExpectChoice(std::vector<float>(padded, -2.5f), visible, wanted);
        ExpectChoice(std::vector<float>(padded, 0.0f), visible, wanted);
        // One that is not a number counts as the largest.
        std::vector<float> endless = scores;
        endless[10] = std::numeric_limits<float>::infinity();
        ExpectChoice(endless, visible, wanted);
        ExpectChoice(std::vector<float>(padded, std::numeric_limits<float>::infinity()), visible, wanted);
        ExpectChoice(std::vector<float>(padded, std::numeric_limits<float>::lowest()), visible, wanted);
      }
    }
    // Scores that differ as much predict little at most positions.
    EXPECT_GT(few, 3u);
  });
}

TEST(FewKeys, AttentionIsThatOfPlainLoops) {
  size_t checked = 0, ambiguous = 0;
  ForEachHead([&](uint32_t seed, size_t size, CacheFormat format) {
    for (size_t visible : {90, 150, 331}) {
      const Kept kept(seed, size, visible, seed % 3 == 0 ? 64 : 83, format, seed % 2 == 0 ? 0.0f : 5.0f);
      std::vector<float> keys(kept.keys.size()), values(keys);
      HWY_DYNAMIC_DISPATCH(Read)(kept.head, keys.data(), values.data());
      const reference::Row predicted = reference::PredictedScores(kept.Plain(kept.keys.data(), values.data()));
      const reference::FewKeys plain = kept.Plain(keys.data(), values.data());
      const std::vector<bool> chosen = reference::Chosen(plain, predicted);
      const Result result(kept);
      // Scores so near to each other that float arithmetic may choose another.
      double least = 1e9, most = -1e9;
      for (size_t j = kFirstTokens; j < visible - kNewestTokens; ++j) {
        if (chosen[j]) least = std::min(least, predicted[j].value - predicted[j].error);
        if (!chosen[j]) most = std::max(most, predicted[j].value + predicted[j].error);
      }
      if (most >= least || !reference::IsSureOfShare(plain, predicted)) {
        ++ambiguous;
        continue;
      }
      ++checked;
      for (uint32_t j : result.chosen) ASSERT_TRUE(chosen[j]) << j;
      const reference::Row wanted = reference::AttendedOf(plain, predicted, chosen);
      for (size_t i = 0; i < size; ++i) {
        ASSERT_NEAR(result.y[i], wanted[i].value, wanted[i].error) << i;
        // The bound says something.
        ASSERT_LT(wanted[i].error, 2e-3);
      }
    }
  });
  EXPECT_GT(checked, 20 * ambiguous);
}

// Weights add up to 1: of equal values, the result is that value.
TEST(FewKeys, WeightsOfAllTokensAddUpToOne) {
  ForEachHead([](uint32_t seed, size_t size, CacheFormat format) {
    Kept kept(seed, size, 333, 64 + seed % 50, format);
    // Powers of two are the same in every format.
    std::fill(kept.values.begin(), kept.values.end(), 0.5f);
    kept.KeepFrom(0);
    const float stored = format == CacheFormat::kInt8 ? 127 * (0.5f / 127) : 0.5f;
    for (float y : Result(kept).y) ASSERT_NEAR(y, stored, 333 * testing::kEpsilon);
  });
}

// Of 130 tokens, the one with the least score is left out, and those that predict less than kLeastShare of a token's mean weight.
// The result moves by their weight times the distance of their values from the mean of all, and by as much again for the error of
// that weight, which is below its size.
TEST(FewKeys, OneTokenLeftOutChangesLittle) {
  ForEachHead([](uint32_t seed, size_t size, CacheFormat format) {
    const size_t visible = 130;
    const Kept kept(seed, size, visible, visible - 1, format);
    std::vector<float> keys(kept.keys.size()), values(keys);
    HWY_DYNAMIC_DISPATCH(Read)(kept.head, keys.data(), values.data());
    const reference::FewKeys plain = kept.Plain(keys.data(), values.data());
    const reference::Row all = reference::AttendedOf(plain, reference::Row(visible), std::vector<bool>(visible, true));
    const Result result(kept);
    float most = 0;
    for (float value : values) most = std::max(most, 2 * std::abs(value));
    for (size_t i = 0; i < size; ++i) ASSERT_NEAR(result.y[i], all[i].value, all[i].error + 2 * most * (kLeastShare + 1.0 / 94)) << i;
  });
}

// A text that goes on from an earlier token overwrites keys, codes and sums.
TEST(FewKeys, WhatIsKeptAgainReplacesWhatWas) {
  ForEachHead([](uint32_t seed, size_t size, CacheFormat format) {
    Kept kept(seed, size, 200, 64, format);
    const Kept other(seed + 100, size, 200, 64, format);
    for (size_t first : {size_t{0}, size_t{71}, size_t{128}}) {
      Kept mixed(seed, size, 200, 64, format);
      std::copy(other.keys.begin() + static_cast<ptrdiff_t>(first * size), other.keys.end(),
                mixed.keys.begin() + static_cast<ptrdiff_t>(first * size));
      std::copy(other.values.begin() + static_cast<ptrdiff_t>(first * size), other.values.end(),
                mixed.values.begin() + static_cast<ptrdiff_t>(first * size));
      // First all of one text, then the end of the other.
      mixed.KeepFrom(first);
      Kept fresh = mixed;
      fresh.key_bytes.assign(fresh.key_bytes.size(), NAN);
      fresh.value_bytes.assign(fresh.value_bytes.size(), NAN);
      fresh.head.keys = reinterpret_cast<uint8_t*>(fresh.key_bytes.data());
      fresh.head.values = reinterpret_cast<uint8_t*>(fresh.value_bytes.data());
      fresh.head.query = fresh.query.data();
      fresh.KeepFrom(0);
      EXPECT_EQ(Result(mixed).y, Result(fresh).y) << first;
      EXPECT_NE(Result(mixed).y, Result(kept).y) << first;
    }
  });
}

// What is not a number shows, also where it would be left out.
TEST(FewKeys, WhatIsNotANumberShows) {
  ForEachHead([](uint32_t seed, size_t size, CacheFormat format) {
    for (bool in_key : {false, true}) {
      Kept kept(seed, size, 200, 64, format);
      (in_key ? kept.keys : kept.values)[50 * size] = NAN;
      kept.KeepFrom(0);
      EXPECT_TRUE(std::isnan(Result(kept).y[0])) << in_key;
    }
  });
}

}  // namespace
}  // namespace lacuna
#endif  // HWY_ONCE
