// One source, several instruction sets: the loader picks the widest that the processor has, at run time.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define MONGE_MULTIVERSION __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MONGE_MULTIVERSION
#endif
#define MONGE_INLINE inline __attribute__((always_inline))

#pragma GCC diagnostic ignored "-Wpsabi"

namespace monge {

// Four doubles, whatever the width of the registers: the same arithmetic, in the same order, on every machine. Vectors
// that are wider than the registers pass through memory, which takes up to seven times as long.
typedef double Lanes __attribute__((vector_size(32), aligned(8), may_alias));
typedef long long LaneMask __attribute__((vector_size(32), aligned(8), may_alias));
constexpr int lane_count = 4;

}  // namespace monge
