// Wasserstein distances on the circle of circumference one, row by row.
//
// Lift both measures to the line with period one. For a shift theta of the target's quantile function the cost
//     C(theta) = integral over one period of |F^-1(t) - G^-1(t + theta)|^p dt
// is convex and piecewise linear in theta, and W_p^p is its minimum. One walk along the staircase gives C and a one-sided
// slope; tangents from both sides, helped by bisection, find the minimum exactly: when the value at their crossing lies
// on them, no point is lower. With a wrapped gap and a given theta the same walk is linear circular transport.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/bindings.hpp"
#include "common/parallel.hpp"
#include "common/unlocked.hpp"
#include "power_cost.hpp"
#include "radix.hpp"
#include "rows.hpp"

namespace nb = nanobind;

namespace monge {
namespace {

// A measure on the circle, sorted: atom i + k n of its lift sits at position[i] + k and ends at level[i] + k.
struct Lift {
  std::vector<double> position, level;
  std::vector<std::uint32_t> index;
  std::ptrdiff_t size = 0;

  template <class Real>
  void sort(const Real* x, const double* weights, std::size_t n) {
    std::vector<Indexed<double>> items(n), spare(n);
    for (std::size_t i = 0; i < n; ++i) {
      double wrapped = static_cast<double>(x[i]) - std::floor(static_cast<double>(x[i]));
      if (wrapped >= 1.0) wrapped = 0.0;  // a tiny negative number rounds up to one
      items[i] = {to_key(wrapped), static_cast<std::uint32_t>(i)};
    }
    const Indexed<double>* sorted = radix_sort(items.data(), spare.data(), n);
    size = static_cast<std::ptrdiff_t>(n);
    position.resize(n);
    level.resize(n);
    index.resize(n);
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      position[i] = from_key(sorted[i].key);
      index[i] = sorted[i].index;
      if (weights) level[i] = (sum += weights[index[i]]);
    }
    for (std::size_t i = 0; i < n; ++i)
      level[i] = weights ? level[i] / sum : static_cast<double>(i + 1) / static_cast<double>(n);
    for (std::size_t i = n; i-- > 0;) {  // nothing is left over for atoms without mass
      level[i] = 1.0;
      if (!weights || weights[index[i]] > 0) break;
    }
  }
};

// An atom of a lift, cheap to move to the next one.
struct Cursor {
  const Lift& lift;
  std::ptrdiff_t at;
  double turn;

  Cursor(const Lift& source, std::ptrdiff_t first, double turns) : lift(source), at(first), turn(turns) {}
  double position() const { return lift.position[at] + turn; }
  double level() const { return lift.level[at] + turn; }
  std::uint32_t index() const { return lift.index[at]; }
  void next() {
    if (++at == lift.size) at = 0, turn += 1.0;
  }
};

// The first atom of the lift whose level exceeds theta.
inline Cursor first_above(const Lift& lift, double theta) {
  const double turn = std::floor(theta), rest = theta - turn;
  const auto found = std::upper_bound(lift.level.begin(), lift.level.end(), rest) - lift.level.begin();
  return found == lift.size ? Cursor(lift, 0, turn + 1.0) : Cursor(lift, found, turn);
}

template <class Power>
struct Wrapped {  // the cost of the shorter way round
  Power cost;
  static double shorter(double gap) { return gap - std::nearbyint(gap); }
  double operator()(double gap) const { return cost(shorter(gap)); }
  double slope(double gap) const { return cost.slope(shorter(gap)); }
};

struct NoVisit {
  void piece(const Cursor&, const Cursor&, double, double) {}
  void row_step(const Cursor&, double) {}
  void column_step(const Cursor&, double) {}
};

struct Measured {
  double cost, slope;
};

// One period of the staircase at shift theta. At equal levels the column moves first for the right-hand slope, the row
// for the left-hand one. The visitor sees the pieces and the increments of the two potentials.
template <class Cost, class Visit>
Measured walk(const Lift& x, const Lift& y, double theta, bool rows_first, const Cost& cost, Visit&& visit) {
  Cursor row(x, 0, 0.0), column = first_above(y, theta);
  std::ptrdiff_t rows_left = x.size, columns_left = y.size;
  double at = 0.0, total = 0.0, slope = 0.0, gap = row.position() - column.position(), here = cost(gap);
  while (rows_left > 0 || columns_left > 0) {
    const double row_level = row.level(), column_level = column.level() - theta;
    const bool row_moves =
        columns_left == 0 || (rows_left > 0 && (rows_first ? row_level <= column_level : row_level < column_level));
    const double level = std::min(row_moves ? row_level : column_level, 1.0);
    if (level > at) {
      total += (level - at) * here;
      visit.piece(row, column, level - at, gap);
      at = level;
    }
    if (row_moves) {
      row.next();
      --rows_left;
    } else {
      column.next();
      --columns_left;
    }
    gap = row.position() - column.position();
    const double before = here;
    here = cost(gap);
    if (row_moves) {
      visit.row_step(row, here - before);
    } else {
      slope += here - before;
      visit.column_step(column, here - before);
    }
  }
  return {total, slope};
}

struct Bracket {
  double low, high, slope_low, slope_high, theta, cost;
};

template <class Cost>
Bracket search(const Lift& x, const Lift& y, const Cost& cost) {
  NoVisit none;
  double low = -1.5, high = 1.5;  // a minimiser lies in [-1, 1]
  Measured at_low = walk(x, y, low, false, cost, none), at_high = walk(x, y, high, true, cost, none);
  double theta = 0.0, value = at_low.cost;
  for (int step = 0; step < 200; ++step) {
    const double fall = at_low.slope, rise = at_high.slope;
    double crossing = (at_high.cost - at_low.cost + fall * low - rise * high) / (fall - rise);
    const bool tangent = step % 3 != 2 && crossing > low && crossing < high;
    theta = tangent ? crossing : 0.5 * (low + high);
    if (!(theta > low && theta < high)) {  // the bracket has shrunk to neighbouring numbers
      theta = at_low.cost <= at_high.cost ? low : high;
      value = std::min(at_low.cost, at_high.cost);
      break;
    }
    const Measured right = walk(x, y, theta, false, cost, none);
    value = right.cost;
    if (right.slope < 0) {
      // On the tangents from both sides: nothing can be lower. Both staircases stay as the two optimal ones.
      if (tangent && value <= at_low.cost + fall * (theta - low) + 1e-15 * std::abs(value)) break;
      low = theta, at_low = right;
      continue;
    }
    const Measured left = walk(x, y, theta, true, cost, none);
    if (left.slope > 0) {
      if (tangent && value <= at_low.cost + fall * (theta - low) + 1e-15 * std::abs(value)) break;
      high = theta, at_high = left;
      continue;
    }
    return {theta, theta, left.slope, right.slope, theta, value};
  }
  return {low, high, at_low.slope, at_high.slope, theta, value};
}

template <class Real, class Cost>
struct Slopes : NoVisit {
  Real *dx, *dy;
  const Cost& cost;
  Slopes(Real* x, Real* y, const Cost& rule) : dx(x), dy(y), cost(rule) {}
  void piece(const Cursor& row, const Cursor& column, double mass, double gap) {
    const double slope = mass * cost.slope(gap);
    dx[row.index()] += static_cast<Real>(slope);
    dy[column.index()] -= static_cast<Real>(slope);
  }
};

template <class Real>
struct Problem {
  const Real *x, *y;
  const double *a, *b;
  bool one_a, one_b;
  std::size_t rows, n, m;
  double p;
  const double* shift;  // null: minimise over theta; else the given theta and the wrapped gap
  double *cost, *theta, *slope;
  Real *dx, *dy;
  double *f, *g;
};

// Potentials along one staircase, added with a weight. A staircase of slope s gives the k-th turn of a column a potential
// that is k s higher: all are brought back to turn zero, where two staircases can be mixed.
template <class Cost>
void add_potentials(const Lift& x, const Lift& y, double theta, bool rows_first, double share, const Cost& cost,
                    double* f, double* g) {
  if (share == 0.0) return;
  const Cursor first = first_above(y, theta);
  const Measured whole = walk(x, y, theta, rows_first, cost, NoVisit{});
  struct Visit : NoVisit {
    double *f, *g, share, drift, sum_f, sum_g;
    std::ptrdiff_t columns_left;
    void row_step(const Cursor& row, double step) {
      sum_f += step;
      if (row.turn == 0.0) f[row.index()] += share * sum_f;
    }
    void column_step(const Cursor& column, double step) {
      sum_g += step;
      if (--columns_left > 0) g[column.index()] += share * (sum_g - column.turn * drift);
    }
  } visit;
  visit.f = f, visit.g = g, visit.share = share, visit.drift = whole.slope;
  visit.columns_left = y.size;
  visit.sum_f = cost(Cursor(x, 0, 0.0).position() - first.position()), visit.sum_g = 0.0;
  f[x.index[0]] += share * visit.sum_f;
  g[first.index()] -= share * first.turn * whole.slope;
  walk(x, y, theta, rows_first, cost, visit);
}

template <class Real, class Power>
void solve_row(const Problem<Real>& problem, std::size_t r, Lift& x, Lift& y, const Power& power) {
  const std::size_t n = problem.n, m = problem.m;
  x.sort(problem.x + r * n, problem.a ? problem.a + (problem.one_a ? 0 : r * n) : nullptr, n);
  y.sort(problem.y + r * m, problem.b ? problem.b + (problem.one_b ? 0 : r * m) : nullptr, m);
  Real *dx = problem.dx ? problem.dx + r * n : nullptr, *dy = problem.dy ? problem.dy + r * m : nullptr;
  double *f = problem.f ? problem.f + r * n : nullptr, *g = problem.g ? problem.g + r * m : nullptr;
  if (dx) std::fill(dx, dx + n, Real(0)), std::fill(dy, dy + m, Real(0));
  if (f) std::fill(f, f + n, 0.0), std::fill(g, g + m, 0.0);
  const auto finish = [&](const auto& cost, const Bracket& found) {
    if (dx) walk(x, y, found.theta, false, cost, Slopes<Real, std::decay_t<decltype(cost)>>(dx, dy, cost));
    if (f) {
      // Mixed so that the potentials close up after one turn; each staircase alone drifts by its slope.
      const double span = found.slope_high - found.slope_low;
      const double high = span > 0 ? std::clamp(-found.slope_low / span, 0.0, 1.0) : 0.5;
      const bool kink = found.low == found.high;
      add_potentials(x, y, found.low, kink, 1.0 - high, cost, f, g);
      add_potentials(x, y, found.high, !kink, high, cost, f, g);
    }
  };
  if (problem.shift) {
    const Wrapped<Power> cost{power};
    const double theta = problem.shift[r];
    const Measured right = walk(x, y, theta, false, cost, NoVisit{}), left = walk(x, y, theta, true, cost, NoVisit{});
    problem.cost[r] = right.cost;
    problem.theta[r] = theta;
    problem.slope[r] = 0.5 * (left.slope + right.slope);
    if (dx) walk(x, y, theta, false, cost, Slopes<Real, Wrapped<Power>>(dx, dy, cost));
    if (f) {
      add_potentials(x, y, theta, true, 0.5, cost, f, g);
      add_potentials(x, y, theta, false, 0.5, cost, f, g);
    }
  } else {
    const Bracket found = search(x, y, power);
    problem.cost[r] = found.cost;
    problem.theta[r] = found.theta;
    problem.slope[r] = 0.0;
    finish(power, found);
  }
}

template <class Real>
void circle_distance(Rows<const Real> x, Rows<const Real> y, std::optional<Rows<const double>> a,
                     std::optional<Rows<const double>> b, double p, std::optional<Rows<const double>> shift,
                     Rows<double> cost, Rows<double> theta, Rows<double> slope, std::optional<Rows<Real>> dx,
                     std::optional<Rows<Real>> dy, std::optional<Rows<double>> f, std::optional<Rows<double>> g,
                     int threads) {
  check_sides(x, y, a, b);
  check_shape("shift", shift, {{x.shape(0)}, {1}});
  check_shape("cost", cost, {{x.shape(0)}, {1}});
  check_shape("theta", theta, {{x.shape(0)}, {1}});
  check_shape("slope", slope, {{x.shape(0)}, {1}});
  check_found(x, y, dx, dy);
  check_found(x, y, f, g);
  const Problem<Real> problem{x.data(),       y.data(),    pointer(a),     pointer(b),   a && a->shape(0) == 1,
                              b && b->shape(0) == 1,       x.shape(0),     x.shape(1),   y.shape(1),
                              p,              pointer(shift), cost.data(), theta.data(), slope.data(),
                              pointer(dx),    pointer(dy), pointer(f),     pointer(g)};
  const Unlocked unlocked;
  parallel_for(problem.rows, 1, 100.0 * (problem.n + problem.m), threads, [&](std::size_t begin, std::size_t end) {
    Lift lift_x, lift_y;
    with_power(problem.p, [&](const auto& power) {
      for (std::size_t r = begin; r < end; ++r) solve_row(problem, r, lift_x, lift_y, power);
    });
  });
}

template <class Real>
void bind(nb::module_& m) {
  m.def("circle_distance", &circle_distance<Real>, array("x"), array("y"), array("a").none(),
        array("b").none(), nb::arg("p"), array("shift").none(), array("cost"), array("theta"),
        array("slope"), array("dx").none(), array("dy").none(), array("f").none(), array("g").none(),
        nb::arg("threads"));
}

}  // namespace

void bind_circle_distance(nb::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace monge
