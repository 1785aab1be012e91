// What an exact plan and its potentials prove, measured on all pairs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/numpy.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "pair_cost.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

template <class T, int dimensions>
using Batch = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

// <weights, values>; an absent point counts as zero whatever its potential. In the precision of long double, since the
// gap is a small difference of such sums.
long double pairing(const double* weights, const double* values, std::size_t count) {
  long double sum = 0;
  for (std::size_t k = 0; k < count; ++k)
    if (weights[k] != 0) sum += static_cast<long double>(weights[k]) * values[k];
  return sum;
}

struct Side {
  std::size_t count;
  const double* weights;
  double* potential;
  std::vector<double> met;  // the marginal of the plan

  Side(std::size_t count, const double* weights, double* potential)
      : count(count), weights(weights), potential(potential), met(count, 0) {}

  double violation() const {
    double sum = 0;
    for (std::size_t k = 0; k < count; ++k) sum += std::abs(met[k] - weights[k]);
    return sum;
  }
  double largest() const {
    double most = 0;
    for (std::size_t k = 0; k < count; ++k)
      if (weights[k] > 0) most = std::max(most, std::abs(potential[k]));
    return most;
  }
  double size() const {
    double sum = 0;
    for (std::size_t k = 0; k < count; ++k)
      if (weights[k] != 0) sum += weights[k] * std::abs(potential[k]);
    return sum;
  }
};

// Of each problem: the cost with missing mass at its price, the duality gap, the share of mass that is missing, the gap
// for the plan's own marginals, and the size of the numbers that these are differences of.
constexpr std::size_t facts = 5;

void prove(const double* cost, const std::int64_t* i, const std::int64_t* j, const double* w, std::size_t entries,
           Side& rows, Side& columns, double* told) {
  const std::size_t m = columns.count;
  long double total = 0, moved = 0;
  for (std::size_t k = 0; k < entries; ++k) {
    if (w[k] == 0) continue;
    rows.met[i[k]] += w[k];
    columns.met[j[k]] += w[k];
    moved += w[k];
    total += static_cast<long double>(w[k]) * cost[i[k] * m + j[k]];
  }
  // Potentials are known up to a shift: that at which both sides have the same share of the value.
  long double mass = 0;
  for (const Side* side : {&rows, &columns})
    for (std::size_t k = 0; k < side->count; ++k) mass += side->weights[k];
  const double shift = static_cast<double>((pairing(rows.weights, rows.potential, rows.count) -
                                            pairing(columns.weights, columns.potential, m)) / mass);
  for (std::size_t k = 0; k < rows.count; ++k) rows.potential[k] -= shift;
  for (std::size_t k = 0; k < m; ++k) columns.potential[k] += shift;

  std::vector<double> h(padded(static_cast<int>(m)), infinity), lowered(rows.count);
  for (std::size_t k = 0; k < m; ++k) h[k] = columns.weights[k] > 0 ? -columns.potential[k] : infinity;
  const MatrixCost pairs(cost, static_cast<int>(rows.count), static_cast<int>(m));
  for (std::size_t k = 0; k < rows.count; ++k)
    lowered[k] = std::min(rows.potential[k], pairs.row_minimum(static_cast<int>(k), h.data()).value);

  const double missing = rows.violation(), wanted = columns.violation();
  const long double priced = total + rows.largest() * missing + columns.largest() * wanted;
  const double* g = columns.potential;
  told[0] = static_cast<double>(priced);
  told[1] = static_cast<double>(priced - pairing(rows.weights, lowered.data(), rows.count) -
                                pairing(columns.weights, g, m));
  told[2] = (missing + wanted) / std::max(static_cast<double>(moved), std::numeric_limits<double>::min());
  told[3] = static_cast<double>(total - pairing(rows.met.data(), lowered.data(), rows.count) -
                                pairing(columns.met.data(), g, m));
  told[4] = std::abs(static_cast<double>(total)) + rows.size() + columns.size();
}

void proof(const Batch<const double, 3>& cost, const Batch<const std::int64_t, 2>& i,
           const Batch<const std::int64_t, 2>& j, const Batch<const double, 2>& w, const Batch<const double, 2>& a,
           const Batch<const double, 2>& b, const Batch<double, 2>& f, const Batch<double, 2>& g,
           const Batch<double, 2>& told, int threads) {
  const std::size_t problems = w.shape(0), entries = w.shape(1), n = cost.shape(1), m = cost.shape(2);
  check_size("rows of the cost", n, most_nodes);
  check_size("columns of the cost", m, most_nodes);
  check_shape("cost", cost, {{problems, true}, {n}, {m}});
  check_shape("a", a, {{problems, true}, {n}});
  check_shape("b", b, {{problems, true}, {m}});
  check_shape("f", f, {{problems}, {n}});
  check_shape("g", g, {{problems}, {m}});
  check_shape("told", told, {{problems}, {facts}});
  for (const auto* ends : {&i, &j}) {
    check_shape(ends == &i ? "i" : "j", *ends, {{problems}, {entries}});
    const std::size_t size = ends == &i ? n : m;
    for (std::size_t k = 0; k < ends->size(); ++k)
      if (ends->data()[k] < 0 || static_cast<std::size_t>(ends->data()[k]) >= size)
        refuse("i and j must lie in the plan, but one is " + std::to_string(ends->data()[k]) + ".");
  }
  const auto row = [](const auto& array, std::size_t k) {
    return array.data() + (array.shape(0) == 1 ? 0 : k) * (array.size() / array.shape(0));
  };
  const Unlocked unlocked;
  parallel_for(problems, 1, 1.0 * n * m + 20.0 * (n + m), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k) {
      Side rows(n, row(a, k), row(f, k)), columns(m, row(b, k), row(g, k));
      prove(row(cost, k), row(i, k), row(j, k), row(w, k), entries, rows, columns, row(told, k));
    }
  });
}

}  // namespace

void bind_proof(nb::module_& m) {
  // Copies of other types would be written in vain.
  const auto array = [] { return nb::arg().noconvert(); };
  m.def("proof", &proof, array(), array(), array(), array(), array(), array(), array(), array(), array(), nb::arg());
}

}  // namespace monge
