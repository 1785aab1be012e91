#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>
#include <string>

#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/numpy.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "given.hpp"
#include "proof.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

using Costs = Input<double, nb::ndim<3>>;
using Numbers = Input<double, nb::ndim<2>>;
using Indices = Input<std::int64_t, nb::ndim<2>>;
using Offsets = Input<std::int64_t, nb::ndim<1>>;
using Columns = Input<std::int32_t, nb::ndim<1>>;
template <class T, int dimensions>
using Output = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

// What the problems of a batch are, beside their costs, and where the answers go.
struct Batch {
  Numbers a, b;
  std::optional<Indices> i, j;
  std::optional<Numbers> w, f, g;
  std::int64_t max_pivots;
  double rounding;
  Output<std::int64_t, 1> status;
  Output<std::int64_t, 2> to_i, to_j;
  Output<double, 2> to_w, to_f, to_g;
  std::optional<Output<double, 2>> told;

  void check(std::size_t n, std::size_t m) const {
    check_size("sources", n, most_nodes);
    check_size("targets", m, most_nodes);
    const std::size_t problems = a.shape(0), arcs = w ? w->shape(1) : 0, room = n + m - 1;
    check_shape("a", a, {{problems}, {n}});
    check_shape("b", b, {{problems}, {m}});
    if (i.has_value() != w.has_value() || j.has_value() != w.has_value() || f.has_value() != g.has_value())
      refuse("i, j and w are given together, and so are f and g, but one of them is missing.");
    check_shape("i", i, {{problems}, {arcs}});
    check_shape("j", j, {{problems}, {arcs}});
    check_shape("w", w, {{problems}, {arcs}});
    check_shape("f", f, {{problems}, {n}});
    check_shape("g", g, {{problems}, {m}});
    check_indices("i", i, n);
    check_indices("j", j, m);
    check_shape("status", status, {{problems}});
    check_shape("the rows of the plan", to_i, {{problems}, {room}});
    check_shape("the columns of the plan", to_j, {{problems}, {room}});
    check_shape("the masses of the plan", to_w, {{problems}, {room}});
    check_shape("the potentials of the rows", to_f, {{problems}, {n}});
    check_shape("the potentials of the columns", to_g, {{problems}, {m}});
    check_shape("what is told", told, {{problems}, {facts}});
  }

  static void check_indices(const char* name, const std::optional<Indices>& indices, std::size_t count) {
    if (!indices) return;
    for (std::size_t k = 0; k < indices->size(); ++k)
      if (indices->data()[k] < 0 || static_cast<std::size_t>(indices->data()[k]) >= count)
        refuse(std::string(name) + " must lie in the plan, below " + std::to_string(count) + ", but one is " +
               std::to_string(indices->data()[k]) + ".");
  }

  void solve(std::size_t k, const GivenCost& cost) const {
    const auto row = [k](const auto& array) { return array.data() + k * array.shape(1); };
    const auto hint = [&](const auto& array) { return array ? row(*array) : nullptr; };
    const GivenProblem problem{cost,    row(a),  row(b),                 hint(i), hint(j),
                               hint(w), w ? w->shape(1) : std::size_t{0}, hint(f), hint(g)};
    const Answer answer{row(to_i), row(to_j), row(to_w), row(to_f), row(to_g)};
    status.data()[k] = static_cast<std::int64_t>(solve_given(problem, max_pivots, rounding, answer));
    if (!told) return;
    const std::size_t room = cost.n + cost.m - 1;
    prove(*cost.pairs(), {answer.i, answer.j, answer.w, room, row(a), row(b), answer.f, answer.g}, row(*told));
  }
};

// The rows must share out the arcs, each with its columns in increasing order.
void check_rows(const Offsets& first, const Columns& column, std::size_t targets) {
  const std::int64_t* row = first.data();
  const std::size_t n = first.size() - 1;
  bool good = row[0] == 0 && row[n] == static_cast<std::int64_t>(column.size());
  for (std::size_t i = 0; good && i < n; ++i) good = row[i] <= row[i + 1];
  for (std::size_t i = 0; good && i < n; ++i)
    for (std::int64_t k = row[i]; good && k < row[i + 1]; ++k)
      good = column.data()[k] >= (k > row[i] ? column.data()[k - 1] + 1 : 0) &&
             static_cast<std::size_t>(column.data()[k]) < targets;
  if (!good) refuse("first and column must list the arcs of all rows, each with increasing columns below targets.");
}

// A batch of one cost serves all problems.
template <class CostOf>
void solve_all(const Batch& batch, std::size_t n, std::size_t m, std::size_t pairs, int threads,
               const CostOf& cost_of) {
  batch.check(n, m);
  const Unlocked unlocked;
  // A pivot reads some rows, and there are about as many pivots as atoms.
  parallel_for(batch.a.shape(0), 1, 4.0 * pairs + 100.0 * (n + m), threads, [&](std::size_t begin, std::size_t end) {
    for (std::size_t k = begin; k < end; ++k) batch.solve(k, cost_of(k));
  });
}

}  // namespace

void bind_simplex(nb::module_& module) {
  const auto hint = [](const char* name) { return nb::arg(name).none(); };
  // Copies of other types would be written in vain.
  const auto out = [](const char* name) { return nb::arg(name).noconvert(); };
  module.def(
      "simplex_matrix",
      [](const Costs& cost, Numbers a, Numbers b, std::optional<Indices> i, std::optional<Indices> j,
         std::optional<Numbers> w, std::optional<Numbers> f, std::optional<Numbers> g, std::int64_t max_pivots,
         double rounding, Output<std::int64_t, 1> status, Output<std::int64_t, 2> to_i, Output<std::int64_t, 2> to_j,
         Output<double, 2> to_w, Output<double, 2> to_f, Output<double, 2> to_g, std::optional<Output<double, 2>> told, int threads) {
        const std::size_t n = cost.shape(1), m = cost.shape(2), step = cost.shape(0) == 1 ? 0 : n * m;
        check_shape("cost", cost, {{a.shape(0), true}, {n}, {m}});
        solve_all({a, b, i, j, w, f, g, max_pivots, rounding, status, to_i, to_j, to_w, to_f, to_g, told}, n, m, n * m,
                  threads, [&](std::size_t k) {
                    return GivenCost{static_cast<int>(n), static_cast<int>(m), cost.data() + k * step};
                  });
      },
      nb::arg("cost"), nb::arg("a"), nb::arg("b"), hint("i"), hint("j"), hint("w"), hint("f"), hint("g"),
      nb::arg("max_pivots"), nb::arg("rounding"), out("status"), out("to_i"), out("to_j"), out("to_w"), out("to_f"),
      out("to_g"), out("told").none(), nb::arg("threads"));
  module.def(
      "simplex_arcs",
      [](const Numbers& cost, const Offsets& first, const Columns& column, std::size_t targets, Numbers a, Numbers b,
         std::optional<Indices> i, std::optional<Indices> j, std::optional<Numbers> w, std::optional<Numbers> f,
         std::optional<Numbers> g, std::int64_t max_pivots, double rounding, Output<std::int64_t, 1> status,
         Output<std::int64_t, 2> to_i, Output<std::int64_t, 2> to_j, Output<double, 2> to_w, Output<double, 2> to_f,
         Output<double, 2> to_g, std::optional<Output<double, 2>> told, int threads) {
        const std::size_t n = a.shape(1), arcs = column.size(), step = cost.shape(0) == 1 ? 0 : arcs;
        check_shape("cost", cost, {{a.shape(0), true}, {arcs}});
        check_shape("first", first, {{n + 1}});
        check_rows(first, column, targets);
        solve_all({a, b, i, j, w, f, g, max_pivots, rounding, status, to_i, to_j, to_w, to_f, to_g, told}, n, targets, arcs,
                  threads, [&](std::size_t k) {
                    GivenCost given{static_cast<int>(n), static_cast<int>(targets), cost.data() + k * step};
                    given.arcs = ArcList{first.data(), column.data()};
                    return given;
                  });
      },
      nb::arg("cost"), nb::arg("first"), nb::arg("column"), nb::arg("targets"), nb::arg("a"), nb::arg("b"), hint("i"),
      hint("j"), hint("w"), hint("f"), hint("g"), nb::arg("max_pivots"), nb::arg("rounding"), out("status"),
      out("to_i"), out("to_j"), out("to_w"), out("to_f"), out("to_g"), out("told").none(), nb::arg("threads"));
  module.def(
      "simplex_points",
      [](const Costs& x, const Costs& y, bool dot, double p, double power, Numbers a, Numbers b,
         std::optional<Indices> i, std::optional<Indices> j, std::optional<Numbers> w, std::optional<Numbers> f,
         std::optional<Numbers> g, std::int64_t max_pivots, double rounding, Output<std::int64_t, 1> status,
         Output<std::int64_t, 2> to_i, Output<std::int64_t, 2> to_j, Output<double, 2> to_w, Output<double, 2> to_f,
         Output<double, 2> to_g, std::optional<Output<double, 2>> told, int threads) {
        const std::size_t n = x.shape(1), m = y.shape(1), d = x.shape(2);
        check_shape("x", x, {{a.shape(0), true}, {n}, {d}});
        check_shape("y", y, {{a.shape(0), true}, {m}, {d}});
        const std::size_t step_x = x.shape(0) == 1 ? 0 : n * d, step_y = y.shape(0) == 1 ? 0 : m * d;
        solve_all({a, b, i, j, w, f, g, max_pivots, rounding, status, to_i, to_j, to_w, to_f, to_g, told}, n, m, n * m,
                  threads, [&](std::size_t k) {
                    return GivenCost{static_cast<int>(n),   static_cast<int>(m), x.data() + k * step_x,
                                     y.data() + k * step_y, static_cast<int>(d), PointRule{dot, p, power}};
                  });
      },
      nb::arg("x"), nb::arg("y"), nb::arg("dot"), nb::arg("p"), nb::arg("power"), nb::arg("a"), nb::arg("b"),
      hint("i"), hint("j"), hint("w"), hint("f"), hint("g"), nb::arg("max_pivots"), nb::arg("rounding"),
      out("status"), out("to_i"), out("to_j"), out("to_w"), out("to_f"), out("to_g"), out("told").none(), nb::arg("threads"));
}

}  // namespace monge
