// Times attention for one token after a long text, in the shape of SmolLM2-135M.
//
//     attention_bench [tokens in the cache] [fp32|fp16|int8] [threads] [rounds] [INSTRUCTIONS] [tokens attended to; 0: all]
//
// There are as many layers as in the model, each with its own cache. Between two of them, as many bytes pass as the other weights of
// a layer have in int4, which does not count. So caches are read from memory, and each token attends to others than the one before.
// The products around the attention are in int4. Prints milliseconds for all layers, the median of the rounds, and the bytes of keys
// and values a second.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "bench/pool.h"
#include "bench/weights.h"
#include "kernels/decoder.h"
#include "kernels/targets.h"

namespace lacuna {
namespace {

constexpr size_t kHidden = 576, kHeads = 9, kKvHeads = 3, kHeadSize = 64, kLayers = 30;
// Of the FFN, and of the head's share.
constexpr size_t kOtherBytes = (3 * kHidden * 1536 + kHidden * 49152 / kLayers) / 2;
// Inputs, of which each layer of each token takes the next.
constexpr size_t kInputs = 127;
constexpr StorageName kInt4 = kStorages[std::size(kStorages) - 1];
// In the order of CacheFormat.
constexpr const char* kFormats[] = {"fp32", "fp16", "int8"};

class Layers {
 public:
  Layers(const CacheLayout& layout, size_t seen)
      : layout_(layout),
        seen_(seen),
        query_(kInt4, kHeads * kHeadSize, kHidden, 1),
        key_(kInt4, kKvHeads * kHeadSize, kHidden, 2),
        value_(kInt4, kKvHeads * kHeadSize, kHidden, 3),
        output_(kInt4, kHidden, kHeads * kHeadSize, 4),
        norm_(kHidden, 1.0f),
        angles_((seen + 1) * kHeadSize / 2, std::sqrt(0.5f)),
        x_(kInputs * kHidden),
        others_(kLayers * kOtherBytes / sizeof(uint64_t), 1),
        y_(kHidden) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (float& value : x_) value = normal(random);
    part_.storage = Storage::kInt4;
    part_.norm = {norm_.data(), 1e-5f};
    part_.query = {query_.matrix(), kHeads * kHeadSize, kHidden};
    part_.key = {key_.matrix(), kKvHeads * kHeadSize, kHidden};
    part_.value = {value_.matrix(), kKvHeads * kHeadSize, kHidden};
    part_.output = {output_.matrix(), kHidden, kHeads * kHeadSize};
    part_.heads = kHeads;
    part_.kv_heads = kKvHeads;
    part_.head_size = kHeadSize;
    part_.cosines = part_.sines = angles_.data();
    part_.scale = 1 / std::sqrt(static_cast<float>(kHeadSize));
    for (size_t i = 0; i < 2 * kLayers; ++i) {
      caches_.emplace_back(kKvHeads * Capacity() * kHeadSize);
      // What entries are does not change the time, if they are numbers.
      for (float& value : caches_.back()) value = 0.001f;
    }
    if (layout.attended > 0) Fill(random);
  }

  // Returns seconds.
  double Step(const Parallel& parallel) {
    Stream stream;
    stream.tokens = 1;
    double seconds = 0;
    for (size_t layer = 0; layer < kLayers; ++layer) {
      stream.x = x_.data() + input_++ % kInputs * kHidden;
      ReadOthers(layer);
      const double start = Now();
      RunNormAttention(part_, stream, CacheOf(layer, seen_), y_.data(), scratch_, parallel);
      seconds += Now() - start;
    }
    return seconds;
  }

  double Bytes() const {
    const size_t run = CacheRunBytes(layout_.format, kHeadSize), of_a_head = 2 * kLayers * seen_ * run / kCacheRun;
    if (layout_.attended == 0 || layout_.attended > seen_) return static_cast<double>(kKvHeads * of_a_head);
    const size_t sketches = kLayers * kKvHeads * seen_ * SketchBytes(kHeadSize) / kCacheRun;
    // As if no two heads chose the same.
    return static_cast<double>(kHeads) * static_cast<double>(of_a_head) * static_cast<double>(layout_.attended) /
               static_cast<double>(seen_) +
           static_cast<double>(sketches);
  }

 private:
  size_t Capacity() const { return CacheCapacity(layout_, seen_ + 1, kHeadSize); }

  // Which tokens are chosen depends on the keys. Feeds as many random tokens to one layer, and gives the others the same.
  void Fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> x(seen_ * kHidden), y(x.size());
    for (float& value : x) value = normal(random);
    Stream stream;
    stream.tokens = seen_;
    stream.x = x.data();
    const size_t none = 0;
    RunNormAttention(part_, stream, CacheOf(0, none), y.data(), scratch_, OnThisThread());
    for (size_t i = 2; i < 2 * kLayers; ++i) caches_[i] = caches_[i % 2];
  }

  void ReadOthers(size_t layer) {
    const size_t count = others_.size() / kLayers;
    uint64_t sum = 0;
    for (size_t i = layer * count; i < (layer + 1) * count; ++i) sum += others_[i];
    sum_ = sum_ + sum;
  }

  Cache CacheOf(size_t layer, const size_t& seen) {
    float *keys = caches_[2 * layer].data(), *values = caches_[2 * layer + 1].data();
    return {keys, values, Capacity(), keys, values, Capacity(), &seen, 1, layout_};
  }

  const CacheLayout layout_;
  const size_t seen_;
  const Weights query_, key_, value_, output_;
  const std::vector<float> norm_, angles_;
  std::vector<float> x_;
  const std::vector<uint64_t> others_;
  std::vector<float> y_;
  size_t input_ = 0;
  // So that they are read.
  volatile uint64_t sum_ = 0;
  std::vector<std::vector<float, PageAligned<float>>> caches_;
  NormAttention part_;
  Scratch scratch_;
};

void Run(size_t seen, const CacheLayout& layout, size_t threads, size_t rounds) {
  Layers layers(layout, seen);
  Pool pool(threads);
  std::vector<double> seconds;
  layers.Step(pool.parallel());
  for (size_t round = 0; round < rounds; ++round) {
    seconds.push_back(layers.Step(pool.parallel()));
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(rounds / 2), seconds.end());
  const double median = seconds[rounds / 2];
  const std::string attended = layout.attended == 0 ? "" : std::to_string(layout.attended) + " of ";
  std::printf("%s%zu tokens in %s, %zu threads, %s: %.3f ms, %.1f GB/s\n", attended.c_str(), seen,
              kFormats[static_cast<size_t>(layout.format)], threads, InstructionsInUse(), 1e3 * median,
              layers.Bytes() / median / 1e9);
}

}  // namespace
}  // namespace lacuna

int main(int argc, char** argv) {
  using namespace lacuna;
  const auto number = [&](int i, size_t otherwise) { return argc > i ? static_cast<size_t>(std::atoi(argv[i])) : otherwise; };
  ChooseInstructions(argc > 5 ? argv[5] : "");
  for (size_t format = 0; format < std::size(kFormats); ++format) {
    if (argc > 2 && std::strcmp(argv[2], kFormats[format]) != 0) continue;
    const CacheLayout layout = {static_cast<CacheFormat>(format), number(6, 0)};
    Run(number(1, 4096), layout, number(3, 2), std::max<size_t>(1, number(4, 21)));
  }
}
