#include "ops/cache_format.h"

namespace lacuna {
namespace {

thread_local CacheLayout said;

}  // namespace

CacheLayout CacheLayoutOfCaller() { return said; }

}  // namespace lacuna

void LacunaCacheLayout(int format, size_t attended) noexcept {
  lacuna::said = {static_cast<lacuna::CacheFormat>(format), attended};
}
