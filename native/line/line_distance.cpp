// Wasserstein distances on the line, row by row: sort, merge, sum; with the derivatives in the same pass when asked.
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

template <class Real>
struct Problem {
  const Real *x, *y;        // (rows, n), (rows, m)
  const double *a, *b;      // null: equal weights; else of mass one, one row per problem or one row for all
  bool one_a, one_b;        // the weights are shared by all rows
  std::size_t rows, n, m;
  double p;
  double* cost;             // (rows,)
  Real *dx, *dy;            // null or (rows, n), (rows, m): derivative of the cost by the positions
  double *f, *g;            // null or (rows, n), (rows, m): potentials, the derivative by the weights
};

template <class Real>
struct Workspace {
  using Key = typename KeyOf<Real>::type;
  std::vector<Key> key_x, key_y, spare;
  std::vector<Indexed<Real>> pair_x, pair_y, pair_spare;
  std::vector<double> level_a, level_b;
};

template <class Real>
const Indexed<Real>* sort_pairs(const Real* x, std::size_t n, std::vector<Indexed<Real>>& items,
                                std::vector<Indexed<Real>>& spare) {
  items.resize(n);
  if (spare.size() < n) spare.resize(n);
  for (std::size_t i = 0; i < n; ++i) items[i] = {to_key(x[i]), static_cast<std::uint32_t>(i)};
  return radix_sort(items.data(), spare.data(), n) == items.data() ? items.data() : (items.swap(spare), items.data());
}

template <class Real>
const typename KeyOf<Real>::type* sort_keys(const Real* x, std::size_t n,
                                            std::vector<typename KeyOf<Real>::type>& items,
                                            std::vector<typename KeyOf<Real>::type>& spare) {
  items.resize(n);
  if (spare.size() < n) spare.resize(n);
  for (std::size_t i = 0; i < n; ++i) items[i] = to_key(x[i]);
  return radix_sort(items.data(), spare.data(), n) == items.data() ? items.data() : (items.swap(spare), items.data());
}

// Equal numbers of equal weights: the k-th smallest meets the k-th smallest.
template <class Real, class Cost>
void matched(const Problem<Real>& problem, std::size_t row, Workspace<Real>& work, const Cost& cost) {
  const std::size_t n = problem.n;
  const Real *x = problem.x + row * n, *y = problem.y + row * n;
  const double share = 1.0 / static_cast<double>(n);
  double total = 0.0;
  if (!problem.dx) {
    const auto* keys_x = sort_keys(x, n, work.key_x, work.spare);
    const auto* keys_y = sort_keys(y, n, work.key_y, work.spare);
    constexpr std::size_t block = 512;  // short sums in the working precision, joined in double
    for (std::size_t begin = 0; begin < n; begin += block) {
      const std::size_t end = std::min(begin + block, n);
      Real sum = 0;
      for (std::size_t k = begin; k < end; ++k) sum += cost(from_key(keys_x[k]) - from_key(keys_y[k]));
      total += sum;
    }
    problem.cost[row] = total * share;
    return;
  }
  const auto* items_x = sort_pairs(x, n, work.pair_x, work.pair_spare);
  const auto* items_y = sort_pairs(y, n, work.pair_y, work.pair_spare);
  Real *dx = problem.dx + row * n, *dy = problem.dy + row * n;
  constexpr std::size_t block = 512;
  Real slopes[block];
  for (std::size_t begin = 0; begin < n; begin += block) {
    const std::size_t end = std::min(begin + block, n);
    Real sum = 0;
    for (std::size_t k = begin; k < end; ++k) {
      const Real gap = from_key(items_x[k].key) - from_key(items_y[k].key);
      sum += cost(gap);
      slopes[k - begin] = static_cast<Real>(share) * cost.slope(gap);
    }
    total += sum;
    for (std::size_t k = begin; k < end; ++k) {
      dx[items_x[k].index] = slopes[k - begin];
      dy[items_y[k].index] = -slopes[k - begin];
    }
  }
  problem.cost[row] = total * share;
}

// Cumulative weights in sorted order. The last level with mass is forced to one, and so are those after it: no sliver is
// left over, and none of it falls on an atom without mass.
template <class Real>
void levels(const Indexed<Real>* items, const double* weights, std::size_t n, std::vector<double>& level) {
  level.resize(n);
  if (!weights) {
    for (std::size_t i = 0; i < n; ++i) level[i] = static_cast<double>(i + 1) / static_cast<double>(n);
  } else {
    double sum = 0.0;
    for (std::size_t i = 0; i < n; ++i) level[i] = (sum += weights[items[i].index]);
  }
  for (std::size_t i = n; i-- > 0;) {
    level[i] = 1.0;
    if (!weights || weights[items[i].index] > 0) break;
  }
}

// General weights: walk the staircase of the two cumulative weights.
template <class Real, class Cost>
void merged(const Problem<Real>& problem, std::size_t row, Workspace<Real>& work, const Cost& cost) {
  const std::size_t n = problem.n, m = problem.m;
  const double* a = problem.a ? problem.a + (problem.one_a ? 0 : row * n) : nullptr;
  const double* b = problem.b ? problem.b + (problem.one_b ? 0 : row * m) : nullptr;
  const auto* items_x = sort_pairs(problem.x + row * n, n, work.pair_x, work.pair_spare);
  const auto* items_y = sort_pairs(problem.y + row * m, m, work.pair_y, work.pair_spare);
  levels(items_x, a, n, work.level_a);
  levels(items_y, b, m, work.level_b);
  const double *A = work.level_a.data(), *B = work.level_b.data();
  Real *dx = problem.dx ? problem.dx + row * n : nullptr, *dy = problem.dy ? problem.dy + row * m : nullptr;
  double *f = problem.f ? problem.f + row * n : nullptr, *g = problem.g ? problem.g + row * m : nullptr;
  if (dx) std::fill(dx, dx + n, Real(0));
  if (dy) std::fill(dy, dy + m, Real(0));
  std::size_t i = 0, j = 0;
  double at = 0.0, total = 0.0;
  double xi = from_key(items_x[0].key), yj = from_key(items_y[0].key);
  if (f) f[items_x[0].index] = cost(xi - yj);
  if (g) g[items_y[0].index] = 0.0;
  for (;;) {
    const bool row_ends = A[i] <= B[j];
    const double level = row_ends ? A[i] : B[j], piece = level - at;
    const double gap = xi - yj, here = cost(gap);
    if (piece > 0) {
      total += piece * here;
      if (dx) {
        const double slope = piece * cost.slope(gap);
        dx[items_x[i].index] += static_cast<Real>(slope);
        dy[items_y[j].index] -= static_cast<Real>(slope);
      }
      at = level;
    }
    // At a common level either step keeps the potentials feasible, the cost being convex in the gap.
    if (row_ends && i + 1 < n) {
      const double before = f ? f[items_x[i].index] : 0.0;
      xi = from_key(items_x[++i].key);
      if (f) f[items_x[i].index] = before + cost(xi - yj) - here;
    } else if (j + 1 < m) {
      const double before = g ? g[items_y[j].index] : 0.0;
      yj = from_key(items_y[++j].key);
      if (g) g[items_y[j].index] = before + cost(xi - yj) - here;
    } else if (i + 1 < n) {
      const double before = f ? f[items_x[i].index] : 0.0;
      xi = from_key(items_x[++i].key);
      if (f) f[items_x[i].index] = before + cost(xi - yj) - here;
    } else {
      break;
    }
  }
  problem.cost[row] = total;
}

template <class Real>
void solve(const Problem<Real>& problem, int threads) {
  const bool equal = problem.n == problem.m && !problem.a && !problem.b && !problem.f;
  const std::size_t grain = std::max<std::size_t>(1, std::min<std::size_t>(problem.rows / 8, 20000 / (problem.n + problem.m) + 1));
  parallel_for(problem.rows, grain, 20.0 * (problem.n + problem.m), threads, [&](std::size_t begin, std::size_t end) {
    Workspace<Real> work;
    with_power(problem.p, [&](const auto& cost) {
      for (std::size_t row = begin; row < end; ++row)
        equal ? matched(problem, row, work, cost) : merged(problem, row, work, cost);
    });
  });
}

template <class Real>
void line_distance(Rows<const Real> x, Rows<const Real> y, std::optional<Rows<const double>> a,
                   std::optional<Rows<const double>> b, double p, Rows<double> cost, std::optional<Rows<Real>> dx,
                   std::optional<Rows<Real>> dy, std::optional<Rows<double>> f, std::optional<Rows<double>> g,
                   int threads) {
  check_sides(x, y, a, b);
  check_shape("cost", cost, {{x.shape(0)}, {1}});
  check_found(x, y, dx, dy);
  check_found(x, y, f, g);
  Problem<Real> problem{x.data(),    y.data(),    pointer(a),  pointer(b), a && a->shape(0) == 1,
                        b && b->shape(0) == 1,    x.shape(0),  x.shape(1), y.shape(1),
                        p,           cost.data(), pointer(dx), pointer(dy), pointer(f), pointer(g)};
  const Unlocked unlocked;
  solve(problem, threads);
}

template <class Real>
void bind(nb::module_& m) {
  m.def("line_distance", &line_distance<Real>, array("x"), array("y"), array("a").none(), array("b").none(),
        nb::arg("p"), array("cost"), array("dx").none(), array("dy").none(), array("f").none(),
        array("g").none(), nb::arg("threads"));
}

}  // namespace

void bind_line_distance(nb::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace monge
