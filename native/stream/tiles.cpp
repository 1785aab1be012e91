#include "tiles.hpp"

#include <algorithm>
#include <atomic>

namespace monge {
namespace stream {

#define MONGE_DECLARE(isa)                   \
  namespace isa {                            \
  extern const Tiles<float> float_tiles;     \
  extern const Tiles<double> double_tiles;   \
  }
MONGE_DECLARE(baseline)
#ifdef MONGE_X86
MONGE_DECLARE(avx2)
MONGE_DECLARE(avx512)
#endif

namespace {

enum class Isa { baseline, avx2, avx512 };

Isa detect() {
#ifdef MONGE_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Isa::avx512;
  }
  if (avx2) return Isa::avx2;
#endif
  return Isa::baseline;
}

std::atomic<int> limit{static_cast<int>(Isa::avx512)};

Isa chosen() {
  static const int best = static_cast<int>(detect());
  return static_cast<Isa>(std::min(best, limit.load(std::memory_order_relaxed)));
}

}  // namespace

const char* limit_instructions(int level) {
  limit = level;
  static const char* const names[] = {"baseline", "avx2", "avx512"};
  return names[static_cast<int>(chosen())];
}

int instructions() { return static_cast<int>(chosen()); }

#ifdef MONGE_X86
#define MONGE_CHOOSE(table) \
  chosen() == Isa::avx512 ? avx512::table : chosen() == Isa::avx2 ? avx2::table : baseline::table
#else
#define MONGE_CHOOSE(table) (chosen(), baseline::table)
#endif

template <>
const Tiles<float>& tiles<float>() {
  return MONGE_CHOOSE(float_tiles);
}

template <>
const Tiles<double>& tiles<double>() {
  return MONGE_CHOOSE(double_tiles);
}

}  // namespace stream
}  // namespace monge
