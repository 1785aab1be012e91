// The monotone plan between two rows of weights, in the order in which the atoms stand on the line.
#include <algorithm>
#include <cstdint>

#include "common/bindings.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "rows.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

template <class Real>
double sum(const Real* values, std::size_t count) {
  double total = 0;
  for (std::size_t k = 0; k < count; ++k) total += values[k];
  return total;
}

// How many atoms stand before the last one that has mass.
template <class Real>
std::size_t last_with_mass(const Real* values, std::size_t count) {
  while (--count > 0 && !(values[count] > 0)) {
  }
  return count;
}

// One piece between each two levels; a level is a running sum of either side, from the last atom with mass on their common
// mass, so that rounding leaves nothing for atoms without any.
template <class Real>
void merge(const Real* a, const Real* b, std::size_t n, std::size_t m, std::int64_t* i_out, std::int64_t* j_out,
           Real* w_out) {
  const double mass = (sum(a, n) + sum(b, m)) / 2;
  const std::size_t pieces = n + m - 1;
  const std::size_t last_a = last_with_mass(a, n), last_b = last_with_mass(b, m);
  std::size_t i = 0, j = 0;
  double sum_a = a[0], sum_b = b[0], level = 0;
  double level_a = last_a == 0 ? mass : std::min(sum_a, mass), level_b = last_b == 0 ? mass : std::min(sum_b, mass);
  for (std::size_t k = 0; k < pieces; ++k) {
    i_out[k] = static_cast<std::int64_t>(i);
    j_out[k] = static_cast<std::int64_t>(j);
    const bool from_a = i + 1 < n && (j + 1 == m || level_a <= level_b);
    const double next = k + 1 == pieces ? mass : from_a ? level_a : level_b;
    w_out[k] = static_cast<Real>(next - level);
    level = next;
    if (k + 1 == pieces) return;
    if (from_a) {
      sum_a += a[++i];
      level_a = i >= last_a ? mass : std::min(sum_a, mass);
    } else {
      sum_b += b[++j];
      level_b = j >= last_b ? mass : std::min(sum_b, mass);
    }
  }
}

template <class Real>
void monotone(const Rows<const Real>& a, const Rows<const Real>& b, const Rows<std::int64_t>& i,
              const Rows<std::int64_t>& j, const Rows<Real>& w, int threads) {
  const std::size_t n = a.shape(1), m = b.shape(1), rows = w.shape(0), pieces = n + m - 1;
  check_size("weights in a row of a", n, most_points);
  check_size("weights in a row of b", m, most_points);
  check_shape("a", a, {{rows, true}, {n}});
  check_shape("b", b, {{rows, true}, {m}});
  check_shape("w", w, {{rows}, {pieces}});
  check_shape("i", i, {{rows}, {pieces}});
  check_shape("j", j, {{rows}, {pieces}});
  const std::size_t step_a = a.shape(0) == 1 ? 0 : n, step_b = b.shape(0) == 1 ? 0 : m;
  const Real *first_a = a.data(), *first_b = b.data();
  std::int64_t *first_i = i.data(), *first_j = j.data();
  Real* first_w = w.data();
  const Unlocked unlocked;
  parallel_for(rows, std::max<std::size_t>(1, 20000 / pieces), 5.0 * pieces, threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row)
      merge(first_a + row * step_a, first_b + row * step_b, n, m, first_i + row * pieces, first_j + row * pieces,
            first_w + row * pieces);
  });
}

}  // namespace

void bind_monotone(nb::module_& m) {
  m.def("monotone", &monotone<float>, array(), array(), array(), array(), array(), nb::arg());
  m.def("monotone", &monotone<double>, array(), array(), array(), array(), array(), nb::arg());
}

}  // namespace monge
