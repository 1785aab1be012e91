// Stable argsort by way of 64-bit keys that hold a value's leading bits above its place. Sorting plain 64-bit integers
// is what vectorised library sorts do best; here the keys are made, and taken apart again.
#include <algorithm>
#include <cstdint>

#include "common/bindings.hpp"
#include "common/unlocked.hpp"
#include "radix.hpp"
#include "rows.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

// NaN of either sign goes last, as in torch.
template <class Real>
typename KeyOf<Real>::type ordered_key(Real x) {
  return x == x ? to_key(x) : ~typename KeyOf<Real>::type{0};
}

template <class Real>
std::uint64_t leading_bits(Real x) {
  return static_cast<std::uint64_t>(ordered_key(x)) >> (8 * sizeof(Real) - 32);
}

template <class Real, class T>
void check_alike(const Rows<const Real>& x, const Rows<T>& other) {
  if (x.shape(1) > 0) check_size("columns of x", x.shape(1), 0xffffffff);
  check_shape("what is sorted with x", other, {{x.shape(0)}, {x.shape(1)}});
}

template <class Real>
void sort_keys(const Rows<const Real>& x, const Rows<std::uint64_t>& keys) {
  const std::size_t rows = x.shape(0), n = x.shape(1);
  check_alike(x, keys);
  const Real* from = x.data();
  std::uint64_t* to = keys.data();
  const Unlocked unlocked;
  for (std::size_t row = 0; row < rows; ++row, from += n, to += n)
    for (std::size_t k = 0; k < n; ++k) to[k] = leading_bits(from[k]) << 32 | k;
}

// Orders a run of values whose leading bits agree, which so far are in the order of their places.
template <class Real>
void settle(const Real* x, std::int64_t* places, std::size_t count) {
  const auto before = [x](std::int64_t p, std::int64_t q) { return ordered_key(x[p]) < ordered_key(x[q]); };
  if (count > 16) {
    std::stable_sort(places, places + count, before);
    return;
  }
  for (std::size_t k = 1; k < count; ++k) {
    const std::int64_t moving = places[k];
    std::size_t to = k;
    for (; to > 0 && before(moving, places[to - 1]); --to) places[to] = places[to - 1];
    places[to] = moving;
  }
}

template <class Real>
void sorted_places(const Rows<const Real>& x, const Rows<const std::uint64_t>& keys, const Rows<Real>& values,
                   const Rows<std::int64_t>& places) {
  const std::size_t rows = x.shape(0), n = x.shape(1);
  check_alike(x, keys);
  check_alike(x, values);
  check_alike(x, places);
  const Real* from = x.data();
  const std::uint64_t* key = keys.data();
  Real* to = values.data();
  std::int64_t* place = places.data();
  const Unlocked unlocked;
  for (std::size_t row = 0; row < rows; ++row, from += n, key += n, to += n, place += n) {
    for (std::size_t k = 0; k < n; ++k) place[k] = static_cast<std::int64_t>(key[k] & 0xffffffffu);
    if constexpr (sizeof(Real) > 4) {
      for (std::size_t k = 0; k + 1 < n;) {
        std::size_t end = k + 1;
        while (end < n && key[end] >> 32 == key[k] >> 32) ++end;
        if (end > k + 1) settle(from, place + k, end - k);
        k = end;
      }
    }
    for (std::size_t k = 0; k < n; ++k) to[k] = from[place[k]];
  }
}

}  // namespace

void bind_sort(nb::module_& m) {
  m.def("sort_keys", &sort_keys<float>, array(), array());
  m.def("sort_keys", &sort_keys<double>, array(), array());
  m.def("sorted_places", &sorted_places<float>, array(), array(), array(), array());
  m.def("sorted_places", &sorted_places<double>, array(), array(), array(), array());
}

}  // namespace monge
