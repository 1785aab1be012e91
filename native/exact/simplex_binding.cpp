#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <optional>

#include "common/bindings.hpp"
#include "common/numpy.hpp"
#include "simplex.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

using Matrix = Input<double, nb::ndim<2>>;
using Vector = Input<double, nb::ndim<1>>;
using Indices = Input<std::int32_t, nb::ndim<1>>;

struct Hints {
  std::optional<Indices> i, j;
  std::optional<Vector> f, g;
};

auto solve(const PairCost& cost, const Vector& a, const Vector& b, const Hints& hints, std::int64_t max_pivots,
           double rounding, int threads) {
  SimplexOptions options;
  options.max_pivots = max_pivots;
  options.rounding = rounding;
  options.threads = threads;
  if (hints.i) options.i = to_vector(*hints.i);
  if (hints.j) options.j = to_vector(*hints.j);
  if (hints.f) options.f = to_vector(*hints.f);
  if (hints.g) options.g = to_vector(*hints.g);
  Transport plan;
  {
    nb::gil_scoped_release release;
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
         std::optional<Vector> f, std::optional<Vector> g, std::int64_t max_pivots, double rounding, int threads) {
        const MatrixCost pairs(cost.data(), static_cast<int>(cost.shape(0)), static_cast<int>(cost.shape(1)));
        return solve(pairs, a, b, {i, j, f, g}, max_pivots, rounding, threads);
      },
      nb::arg("cost"), nb::arg("a"), nb::arg("b"), nb::arg("i").none(), nb::arg("j").none(), nb::arg("f").none(),
      nb::arg("g").none(), nb::arg("max_pivots"), nb::arg("rounding"), nb::arg("threads"));
  m.def(
      "simplex_points",
      [](const Matrix& x, const Matrix& y, bool dot, double p, double power, const Vector& a, const Vector& b,
         std::optional<Indices> i, std::optional<Indices> j, std::optional<Vector> f, std::optional<Vector> g,
         std::int64_t max_pivots, double rounding, int threads) {
        const PointCost pairs(x.data(), y.data(), static_cast<int>(x.shape(0)), static_cast<int>(y.shape(0)),
                              static_cast<int>(x.shape(1)), {dot, p, power});
        return solve(pairs, a, b, {i, j, f, g}, max_pivots, rounding, threads);
      },
      nb::arg("x"), nb::arg("y"), nb::arg("dot"), nb::arg("p"), nb::arg("power"), nb::arg("a"), nb::arg("b"),
      nb::arg("i").none(), nb::arg("j").none(), nb::arg("f").none(), nb::arg("g").none(), nb::arg("max_pivots"),
      nb::arg("rounding"), nb::arg("threads"));
}

}  // namespace monge
