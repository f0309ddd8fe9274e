#include "ops/ffn_node.h"

#include <utility>

namespace lacuna {
namespace {

ScratchPool& SharedScratch() {
  static ScratchPool* const pool = new ScratchPool;
  return *pool;
}

}  // namespace

TakenScratch::TakenScratch() : scratch_(SharedScratch().Take()) {}
TakenScratch::~TakenScratch() { SharedScratch().Return(std::move(scratch_)); }

}  // namespace lacuna
