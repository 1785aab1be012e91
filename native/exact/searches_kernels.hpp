// The bodies of `Searches`, compiled once for each instruction set. See stream/simd.hpp for the rules of this file.
#include "searches.hpp"
#include "stream/simd.hpp"

namespace monge {
namespace stream {
namespace MONGE_ISA {
namespace {

constexpr int kTile = 32;

// Appends the lanes in which v is at most the threshold, as columns from `first` on.
template <class T>
MONGE_INLINE int take(typename Simd<T>::V v, typename Simd<T>::V threshold, int first, int* found, int count) {
  constexpr unsigned every = Simd<T>::lanes == 32 ? ~0u : (1u << Simd<T>::lanes) - 1;
  unsigned bits = lanes_above(v, threshold) ^ every;
  while (bits != 0) {
    found[count++] = first + __builtin_ctz(bits);
    bits &= bits - 1;
  }
  return count;
}

int screen(const float* x, const float* at, const float* levels, int tiles, int d, float threshold, int* found) {
  typedef Simd<float>::V V;
  constexpr int lanes = Simd<float>::lanes, parts = kTile / lanes < 4 ? kTile / lanes : 4;
  const V limit = broadcast<float>(threshold);
  int count = 0;
  for (int t = 0; t < tiles; ++t, at += static_cast<std::size_t>(kTile) * d)
    for (int part = 0; part < kTile; part += parts * lanes) {
      V v[parts];
      for (int r = 0; r < parts; ++r) v[r] = load<float>(levels + static_cast<std::size_t>(t) * kTile + part + r * lanes);
      for (int k = 0; k < d; ++k) {
        const V factor = broadcast<float>(x[k]);
        for (int r = 0; r < parts; ++r) v[r] += factor * load<float>(at + k * kTile + part + r * lanes);
      }
      V low = v[0];
      for (int r = 1; r < parts; ++r) low = low < v[r] ? low : v[r];
      if (lanes_above(low, limit) == (lanes == 32 ? ~0u : (1u << lanes) - 1)) continue;
      for (int r = 0; r < parts; ++r) count = take<float>(v[r], limit, t * kTile + part + r * lanes, found, count);
    }
  return count;
}

void screen_four(const float* x, const float* at, const float* levels, int tiles, int d, const float* threshold,
                 int* found, std::size_t room, int* count) {
  typedef Simd<float>::V V;
  constexpr int lanes = Simd<float>::lanes;
  const V limit[4] = {broadcast<float>(threshold[0]), broadcast<float>(threshold[1]), broadcast<float>(threshold[2]),
                      broadcast<float>(threshold[3])};
  constexpr unsigned every = (1u << lanes) - 1;
  for (int t = 0; t < tiles; ++t, at += static_cast<std::size_t>(kTile) * d)
    for (int part = 0; part < kTile; part += 2 * lanes) {
      const float* level = levels + static_cast<std::size_t>(t) * kTile + part;
      V v[4][2];
      for (int r = 0; r < 4; ++r) {
        v[r][0] = load<float>(level);
        v[r][1] = load<float>(level + lanes);
      }
      for (int k = 0; k < d; ++k) {
        const V one = load<float>(at + k * kTile + part), two = load<float>(at + k * kTile + part + lanes);
        for (int r = 0; r < 4; ++r) {
          const V factor = broadcast<float>(x[4 * k + r]);
          v[r][0] += factor * one;
          v[r][1] += factor * two;
        }
      }
      for (int r = 0; r < 4; ++r) {
        const V low = v[r][0] < v[r][1] ? v[r][0] : v[r][1];
        if (lanes_above(low, limit[r]) == every) continue;
        int* to = found + r * room;
        const int first = t * kTile + part;
        count[r] = take<float>(v[r][0], limit[r], first, to, count[r]);
        count[r] = take<float>(v[r][1], limit[r], first + lanes, to, count[r]);
      }
    }
}

MONGE_INLINE int take_tile(const double* x, const double* at, const double* prices, int d, Simd<double>::V limit,
                           int first, int* found, int count) {
  typedef Simd<double>::V V;
  constexpr int lanes = Simd<double>::lanes;
  for (int part = 0; part < kTile; part += lanes) {
    V v = load<double>(prices + part);
    for (int k = 0; k < d; ++k) {
      const V apart = load<double>(at + k * kTile + part) - broadcast<double>(x[k]);
      v += apart * apart;
    }
    count = take<double>(v, limit, first + part, found, count);
  }
  return count;
}

int differences(const double* x, const double* at, const double* prices, const double* low, const double* high,
                const double* least, int tiles, int d, double threshold, int* found) {
  typedef Simd<double>::V V;
  constexpr int lanes = Simd<double>::lanes;
  const V limit = broadcast<double>(threshold);
  int count = 0;
  for (int t = 0; t < tiles; t += lanes) {
    unsigned near = (1u << lanes) - 1;
    if (low != nullptr) {
      V v = load<double>(least + t);
      for (int k = 0; k < d; ++k) {
        const std::size_t side = static_cast<std::size_t>(k) * tiles + t;
        const V here = broadcast<double>(x[k]), below = load<double>(low + side) - here;
        const V above = here - load<double>(high + side);
        const V out = larger(larger(below, above), V{});
        v += out * out;
      }
      near ^= lanes_above(v, limit);
    }
    while (near != 0) {
      const int tile = t + __builtin_ctz(near);
      near &= near - 1;
      count = take_tile(x, at + static_cast<std::size_t>(tile) * kTile * d, prices + static_cast<std::size_t>(tile) * kTile,
                        d, limit, tile * kTile, found, count);
    }
  }
  return count;
}

}  // namespace

extern const Searches column_searches;
const Searches column_searches = {screen, screen_four, differences};

}  // namespace MONGE_ISA
}  // namespace stream
}  // namespace monge
