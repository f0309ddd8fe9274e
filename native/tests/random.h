// Random numbers for tests. Not templates and not inline, so that instrumented code does not contain them.
#ifndef LACUNA_TESTS_RANDOM_H_
#define LACUNA_TESTS_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace lacuna::testing {

class Random {
 public:
  explicit Random(uint32_t seed);

  // Normal, with deviation 1.
  std::vector<float> Floats(size_t count, float scale = 1);
  size_t Below(size_t limit);

 private:
  std::mt19937 engine_;
};

}  // namespace lacuna::testing

#endif  // LACUNA_TESTS_RANDOM_H_
