// Calls one dense FFN block on one thread, for tools that count instructions. bench/instruction-sets.js runs this.
//
//     block_calls STORAGE CALLS [INSTRUCTIONS]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "bench/weights.h"
#include "kernels/decoder.h"
#include "kernels/parallel.h"
#include "kernels/targets.h"

namespace lacuna {
namespace {

constexpr size_t kHidden = 576, kNeurons = 1536;

void Call(const StorageName& storage, size_t calls) {
  const Weights gate(storage, kNeurons, kHidden, 1), up(storage, kNeurons, kHidden, 2), down(storage, kHidden, kNeurons, 3);
  NormFfn ffn;
  ffn.storage = storage.storage;
  ffn.activation = Activation::kSilu;
  ffn.gate = {gate.matrix(), kNeurons, kHidden};
  ffn.up = {up.matrix(), kNeurons, kHidden};
  ffn.down = {down.matrix(), kHidden, kNeurons};
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> x(kHidden), y(kHidden);
  for (float& value : x) value = normal(random);
  Stream stream;
  stream.tokens = 1;
  stream.x = x.data();
  Scratch scratch;
  for (size_t i = 0; i < calls; ++i) RunNormFfn(ffn, stream, {}, y.data(), scratch, OnThisThread());
}

}  // namespace
}  // namespace lacuna

int main(int argc, char** argv) {
  using namespace lacuna;
  for (const StorageName& storage : kStorages) {
    if (argc < 3 || !IsBlocked(storage.storage) || std::strcmp(storage.name, argv[1]) != 0) continue;
    ChooseInstructions(argc > 3 ? argv[3] : "");
    Call(storage, static_cast<size_t>(std::atoi(argv[2])));
    return 0;
  }
  std::fprintf(stderr, "usage: block_calls int4|int5|int6|int8 CALLS [INSTRUCTIONS]\n");
  return 2;
}
