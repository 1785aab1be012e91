#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <string>

#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/numpy.hpp"
#include "common/unlocked.hpp"
#include "simplex.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

using Matrix = Input<double, nb::ndim<2>>;
using Vector = Input<double, nb::ndim<1>>;
using Indices = Input<std::int32_t, nb::ndim<1>>;
using Offsets = Input<std::int64_t, nb::ndim<1>>;

struct Hints {
  std::optional<Indices> i, j;
  std::optional<Vector> f, g;
};

void check_sides(std::size_t n, std::size_t m) {
  check_size("sources", n, most_nodes);
  check_size("targets", m, most_nodes);
}

void check_indices(const char* name, const std::optional<Indices>& indices, int count) {
  if (!indices) return;
  for (std::size_t k = 0; k < indices->size(); ++k)
    if (indices->data()[k] < 0 || indices->data()[k] >= count)
      refuse(std::string(name) + " must lie in the plan, below " + std::to_string(count) + ", but one is " +
             std::to_string(indices->data()[k]) + ".");
}

// The rows must share out the arcs, each with its columns in increasing order.
void check_rows(const Offsets& first, const Indices& column, int targets) {
  const std::int64_t* row = first.data();
  const std::size_t n = first.size() - 1;
  bool good = row[0] == 0 && row[n] == static_cast<std::int64_t>(column.size());
  for (std::size_t i = 0; good && i < n; ++i) good = row[i] <= row[i + 1];
  for (std::size_t i = 0; good && i < n; ++i)
    for (std::int64_t k = row[i]; good && k < row[i + 1]; ++k)
      good = column.data()[k] >= (k > row[i] ? column.data()[k - 1] + 1 : 0) && column.data()[k] < targets;
  if (!good) refuse("first and column must list the arcs of all rows, each with increasing columns below targets.");
}

auto solve(const PairCost& cost, const Vector& a, const Vector& b, const Hints& hints, std::int64_t max_pivots,
           double rounding, bool turned) {
  const std::size_t n = cost.n, m = cost.m;
  check_shape("a", a, {{n}});
  check_shape("b", b, {{m}});
  check_shape("f", hints.f, {{n}});
  check_shape("g", hints.g, {{m}});
  if (hints.i.has_value() != hints.j.has_value() || (hints.i && hints.i->size() != hints.j->size()))
    refuse("i and j must name the two ends of the same arcs, but are not equally many.");
  check_indices("i", hints.i, cost.n);
  check_indices("j", hints.j, cost.m);
  SimplexOptions options;
  options.max_pivots = max_pivots;
  options.rounding = rounding;
  options.turned = turned;
  if (hints.i) options.i = to_vector(*hints.i);
  if (hints.j) options.j = to_vector(*hints.j);
  if (hints.f) options.f = to_vector(*hints.f);
  if (hints.g) options.g = to_vector(*hints.g);
  Transport plan;
  {
    const Unlocked unlocked;
    plan = network_simplex(cost, a.data(), b.data(), options);
  }
  return nb::make_tuple(static_cast<int>(plan.status), plan.pivots, to_numpy(std::move(plan.i)),
                        to_numpy(std::move(plan.j)), to_numpy(std::move(plan.w)), to_numpy(std::move(plan.f)),
                        to_numpy(std::move(plan.g)));
}

}  // namespace

void bind_simplex(nb::module_& m) {
  m.def(
      "simplex_matrix",
      [](const Matrix& cost, const Vector& a, const Vector& b, std::optional<Indices> i, std::optional<Indices> j,
         std::optional<Vector> f, std::optional<Vector> g, std::int64_t max_pivots, double rounding, bool turned) {
        check_sides(cost.shape(0), cost.shape(1));
        const MatrixCost pairs(cost.data(), static_cast<int>(cost.shape(0)), static_cast<int>(cost.shape(1)));
        return solve(pairs, a, b, {i, j, f, g}, max_pivots, rounding, turned);
      },
      nb::arg("cost"), nb::arg("a"), nb::arg("b"), nb::arg("i").none(), nb::arg("j").none(), nb::arg("f").none(),
      nb::arg("g").none(), nb::arg("max_pivots"), nb::arg("rounding"), nb::arg("turned"));
  m.def(
      "simplex_arcs",
      [](const Offsets& first, const Indices& column, const Vector& cost, int targets, const Vector& a, const Vector& b,
         std::optional<Indices> i, std::optional<Indices> j, std::optional<Vector> f, std::optional<Vector> g,
         std::int64_t max_pivots, double rounding, bool turned) {
        check_sides(a.size(), targets);
        check_shape("first", first, {{a.size() + 1}});
        check_shape("column", column, {{cost.size()}});
        check_rows(first, column, targets);
        const ArcCost pairs(first.data(), column.data(), cost.data(), static_cast<int>(a.size()), targets);
        return solve(pairs, a, b, {i, j, f, g}, max_pivots, rounding, turned);
      },
      nb::arg("first"), nb::arg("column"), nb::arg("cost"), nb::arg("targets"), nb::arg("a"), nb::arg("b"),
      nb::arg("i").none(), nb::arg("j").none(), nb::arg("f").none(), nb::arg("g").none(), nb::arg("max_pivots"),
      nb::arg("rounding"), nb::arg("turned"));
  m.def(
      "simplex_points",
      [](const Matrix& x, const Matrix& y, bool dot, double p, double power, const Vector& a, const Vector& b,
         std::optional<Indices> i, std::optional<Indices> j, std::optional<Vector> f, std::optional<Vector> g,
         std::int64_t max_pivots, double rounding, bool turned) {
        check_sides(x.shape(0), y.shape(0));
        check_shape("y", y, {{y.shape(0)}, {x.shape(1)}});
        const PointCost pairs(x.data(), y.data(), static_cast<int>(x.shape(0)), static_cast<int>(y.shape(0)),
                              static_cast<int>(x.shape(1)), {dot, p, power});
        return solve(pairs, a, b, {i, j, f, g}, max_pivots, rounding, turned);
      },
      nb::arg("x"), nb::arg("y"), nb::arg("dot"), nb::arg("p"), nb::arg("power"), nb::arg("a"), nb::arg("b"),
      nb::arg("i").none(), nb::arg("j").none(), nb::arg("f").none(), nb::arg("g").none(), nb::arg("max_pivots"),
      nb::arg("rounding"), nb::arg("turned"));
}

}  // namespace monge
