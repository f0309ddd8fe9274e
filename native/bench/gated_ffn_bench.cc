// Times GatedFFN's kernels: dense and sparse blocks with as many parameters, taking turns, and their share of the
// memory's bandwidth. bench/native.js runs this and makes the table of docs/native.md.
//
//     gated_ffn_bench [threads] [rounds] [shapes]
//
// Weights of one contender are several layers, together larger than the caches, so that each call reads from memory.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "hwy/base.h"
#include "bench/pool.h"
#include "bench/weights.h"
#include "kernels/bandwidth.h"
#include "kernels/decoder.h"
#include "kernels/gated_ffn.h"
#include "kernels/targets.h"
#include "reference/matrix.h"

namespace lacuna {
namespace {

struct Shape {
  const char* name;
  size_t hidden, dense_neurons, spark_neurons, split;
  size_t layers;
};
constexpr Shape kShapes[] = {
    {"576, 1536", 576, 1536, 1536, 0, 24},
    {"2304, 9216; Spark 13824 of r 1024", 2304, 9216, 13824, 1024, 3},
};
// Q(1 - 0.08).
constexpr float kQuantile = 1.405072f;

class Contender {
 public:
  Contender(std::string name, const Shape& shape, const StorageName& storage, bool spark)
      : name_(std::move(name)), storage_(storage), hidden_(shape.hidden),
        neurons_(spark ? shape.spark_neurons : shape.dense_neurons), y_(shape.hidden) {
    for (size_t layer = 0; layer < shape.layers; ++layer) {
      if (IsBlocked(storage.storage) && !spark) {
        whole_.push_back(Whole());
      } else {
        ffns_.push_back(Ffn(shape, spark));
      }
    }
  }

  // Milliseconds for each layer.
  double Time(const std::vector<float>& x, const Parallel& parallel) {
    Stream stream;
    stream.tokens = 1;
    stream.x = x.data();
    read_ = 0;
    const double start = Now();
    for (const NormFfn& ffn : whole_) {
      RunNormFfn(ffn, stream, {}, y_.data(), scratch_, parallel);
      read_ += storage_.bytes * static_cast<double>(3 * neurons_ * hidden_);
    }
    for (const GatedFfn& ffn : ffns_) {
      int32_t kept = 0;
      GatedFfnTokens tokens;
      tokens.stream = stream;
      tokens.y = y_.data();
      tokens.kept = &kept;
      RunGatedFfn(ffn, tokens, scratch_, parallel);
      read_ += storage_.bytes * static_cast<double>(neurons_ * ffn.gate_inputs.count +
                                                    static_cast<size_t>(kept) * (ffn.up_inputs.count + hidden_));
    }
    const double seconds = (Now() - start) / static_cast<double>(layers());
    times_.push_back(seconds);
    return seconds;
  }

  double BytesALayer() const { return read_ / static_cast<double>(layers()); }
  const std::string& name() const { return name_; }
  const std::vector<double>& times() const { return times_; }
  void Forget() { times_.clear(); }

 private:
  size_t layers() const { return whole_.size() + ffns_.size(); }

  Matrix Made(size_t rows, size_t width) {
    weights_.push_back(std::make_unique<Weights>(storage_, rows, width, ++seed_));
    return weights_.back()->matrix();
  }

  // As in a block without a choice.
  NormFfn Whole() {
    NormFfn ffn;
    ffn.storage = storage_.storage;
    ffn.activation = Activation::kGeluTanh;
    ffn.gate = {Made(neurons_, hidden_), neurons_, hidden_};
    ffn.up = {Made(neurons_, hidden_), neurons_, hidden_};
    ffn.down = {Made(hidden_, neurons_), hidden_, neurons_};
    return ffn;
  }

  GatedFfn Ffn(const Shape& shape, bool spark) {
    GatedFfn ffn;
    ffn.hidden = hidden_;
    ffn.neurons = neurons_;
    ffn.storage = storage_.storage;
    ffn.activation = Activation::kGeluTanh;
    if (spark) ffn.choice = {Measure::kGate, Cut::kDeviation, TopKMode::kSoft};
    ffn.quantile = kQuantile;
    const size_t split = spark ? shape.split : 0;
    ffn.gate_inputs = split == 0 ? Range{0, hidden_} : Range{0, split};
    ffn.up_inputs = split == 0 ? ffn.gate_inputs : Range{split, hidden_ - split};
    ffn.gate = Made(neurons_, ffn.gate_inputs.count);
    ffn.up = Made(neurons_, ffn.up_inputs.count);
    ffn.down = Made(neurons_, hidden_);
    if (!IsBlocked(ffn.storage)) return ffn;
    // As in a model file: data read only for chosen neurons is stored neuron by neuron.
    const std::vector<reference::StoredRecords::Part> parts = {{ffn.up, {ffn.storage, ffn.up_inputs.count}},
                                                               {ffn.down, {ffn.storage, hidden_}}};
    records_.push_back(std::make_unique<reference::StoredRecords>(neurons_, parts));
    weights_.resize(weights_.size() - parts.size());
    ffn.up = records_.back()->matrix(0);
    ffn.down = records_.back()->matrix(1);
    return ffn;
  }

  std::string name_;
  StorageName storage_;
  size_t hidden_, neurons_;
  double read_ = 0;
  uint32_t seed_ = 0;
  std::vector<std::unique_ptr<Weights>> weights_;
  std::vector<std::unique_ptr<reference::StoredRecords>> records_;
  std::vector<NormFfn> whole_;
  std::vector<GatedFfn> ffns_;
  std::vector<float> y_;
  std::vector<double> times_;
  Scratch scratch_;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double MedianRatio(const std::vector<double>& above, const std::vector<double>& below) {
  std::vector<double> ratios;
  for (size_t i = 0; i < above.size(); ++i) ratios.push_back(above[i] / below[i]);
  return Median(ratios);
}

// The bandwidth is measured in turn too, because it changes from second to second on a shared machine.
void BenchShape(const Shape& shape, size_t rounds, OrderedReads& memory, const Parallel& parallel) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(shape.hidden);
  for (float& value : x) value = normal(random);
  for (const StorageName& storage : kStorages) {
    Contender dense("dense", shape, storage, false), sparse("sparse", shape, storage, true);
    std::vector<double> seconds_a_byte;
    for (size_t round = 0; round < rounds + 1; ++round) {
      for (Contender* contender : {&dense, &sparse}) contender->Time(x, parallel);
      seconds_a_byte.push_back(1 / memory.Pass(parallel));
      // The first round maps memory.
      if (round == 0) dense.Forget(), sparse.Forget(), seconds_a_byte.clear();
    }
    for (Contender* contender : {&dense, &sparse})
      std::printf("| %s | %s | %s | %.3f | %.2f | %.1f | %.0f %% |\n", shape.name, storage.name, contender->name().c_str(),
                  1e3 * Median(contender->times()), MedianRatio(dense.times(), contender->times()),
                  contender->BytesALayer() / 1e6,
                  100 * contender->BytesALayer() * MedianRatio(seconds_a_byte, contender->times()));
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace lacuna

int main(int argc, char** argv) {
  using namespace lacuna;
  const size_t threads = argc > 1 ? static_cast<size_t>(std::atoi(argv[1])) : std::thread::hardware_concurrency();
  const size_t rounds = argc > 2 ? static_cast<size_t>(std::atoi(argv[2])) : 40;
  const size_t shapes = argc > 3 ? static_cast<size_t>(std::atoi(argv[3])) : std::size(kShapes);
  if (threads == 0 || rounds == 0 || shapes == 0 || shapes > std::size(kShapes)) {
    std::fprintf(stderr, "usage: gated_ffn_bench [threads] [rounds] [shapes, 1 to %zu]\n", std::size(kShapes));
    return 2;
  }
  ChooseInstructions();
  Pool pool(threads);
  const Parallel parallel = pool.parallel();
  OrderedReads memory;
  std::vector<double> passes;
  for (size_t i = 0; i < rounds; ++i) passes.push_back(memory.Pass(parallel));
  std::printf("%zu threads, %s, %.1f GB/s read in order\n\n", threads,
              InstructionsInUse(), Median(passes) / 1e9);
  std::printf("| hidden, neurons | weights | block | ms a token | dense / this | MB read | of bandwidth |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (size_t i = 0; i < shapes; ++i) BenchShape(kShapes[i], rounds, memory, parallel);
  return 0;
}
