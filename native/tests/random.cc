#include "tests/random.h"

namespace lacuna::testing {

Random::Random(uint32_t seed) : engine_(seed) {}

std::vector<float> Random::Floats(size_t count, float scale) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = scale * normal(engine_);
  return values;
}

size_t Random::Below(size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(engine_); }

}  // namespace lacuna::testing
