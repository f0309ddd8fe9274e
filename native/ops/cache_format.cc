#include "ops/cache_format.h"

namespace lacuna {
namespace {

thread_local CacheLayout said_layout;

}  // namespace

CacheLayout CacheLayoutOfCaller() { return said_layout; }

}  // namespace lacuna

void LacunaCacheLayout(int format, size_t attended) noexcept {
  lacuna::said_layout = {static_cast<lacuna::CacheFormat>(format), attended};
}
