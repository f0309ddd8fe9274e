#include "ops/cache_format.h"

namespace lacuna {
namespace {

thread_local CacheFormat said = CacheFormat::kFp32;

}  // namespace

CacheFormat CacheFormatOfCaller() { return said; }

}  // namespace lacuna

void LacunaCacheFormat(int format) noexcept { lacuna::said = static_cast<lacuna::CacheFormat>(format); }
