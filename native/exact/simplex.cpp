#include "simplex.hpp"

#include <algorithm>
#include <cmath>

#include "assignment.hpp"
#include "common/watch.hpp"
#include "masses.hpp"
#include "small_transport.hpp"

namespace monge {
namespace {

// A violation below this multiple of the numbers it is made of is rounding.
constexpr double relative_tolerance = 1e-14;

bool violates(const Tree& tree, int i, int j, double cost, double tolerance) {
  const double h_i = tree.source_potentials()[i], h_j = tree.target_potentials()[j];
  return cost - h_i + h_j < -tolerance * (std::abs(cost) + std::abs(h_i) + std::abs(h_j));
}

class Simplex {
 public:
  Simplex(const PairCost& cost, Tree& tree, std::int64_t max_pivots, std::int64_t slack)
      : cost_(cost), tree_(tree), max_pivots_(max_pivots), slack_(slack), block_(2), watch_(tree.m) {}

  Status run() {
    bool fresh = true;
    for (;;) {
      Arc arc;
      if (find(arc)) {
        if (pivots_ == max_pivots_) return Status::pivot_limit;
        if (!tree_.pivot(arc.i, arc.j, arc.cost)) return Status::infeasible;
        fresh = false;
        if (++pivots_ % (tree_.n + tree_.m) == 0) tree_.refresh();
        if (pivots_ % (std::int64_t{64} * (tree_.n + tree_.m)) == 0) tolerance_ *= 2;
      } else if (!fresh) {
        tree_.refresh();
        fresh = true;
      } else if (tree_.artificial_flow() > slack_) {
        return Status::infeasible;
      } else if (tree_.settle()) {
        fresh = false;
      } else {
        return Status::optimal;
      }
    }
  }

  std::int64_t pivots() const { return pivots_; }

 private:
  // The worst of a block of rows that has any, in cyclic order.
  bool find(Arc& arc) {
    double worst = 0;
    bool found = false;
    for (int scanned = 0, in_block = 0; scanned < tree_.n; ++scanned) {
      watch_();
      const int i = row_;
      row_ = row_ + 1 < tree_.n ? row_ + 1 : 0;
      const RowMinimum best = cost_.row_minimum(i, tree_.target_potentials());
      const double violation = best.value - tree_.source_potentials()[i];
      if (violation < worst) {
        const double c = cost_.at(i, best.column);
        if (violates(tree_, i, best.column, c, tolerance_)) {
          worst = violation;
          arc = {i, best.column, c};
          found = true;
        }
      }
      if (++in_block >= block_) {
        if (found) return true;
        in_block = 0;
      }
    }
    return found;
  }

  const PairCost& cost_;
  Tree& tree_;
  const std::int64_t max_pivots_, slack_;
  const int block_;
  int row_ = 0;
  Watch watch_;
  std::int64_t pivots_ = 0;
  double tolerance_ = relative_tolerance;
};

// The cheapest arcs of every row once columns and rows are reduced, by what they cost beyond that.
std::vector<Arc> cheap_arcs(const PairCost& cost, const std::vector<double>& g, std::vector<double>& level) {
  const int n = cost.n, m = cost.m;
  std::vector<double> scratch(padded(m)), h(padded(m), infinity);
  std::vector<int> order(m);
  Watch watch(4 * static_cast<std::size_t>(m));
  level.assign(n + m, 0);
  std::vector<double> lowest(g);
  if (lowest.empty()) {
    lowest.assign(m, infinity);
    for (int i = 0; i < n; ++i) {
      watch();
      const CostRow row = cost.row(i, scratch.data());
      row.for_each([&](int k, int j) { lowest[j] = std::min(lowest[j], row.costs[k]); });
    }
  }
  for (int j = 0; j < m; ++j) level[n + j] = std::isfinite(lowest[j]) ? -lowest[j] : 0;
  struct Ranked {
    double excess;
    Arc arc;
  };
  std::vector<Ranked> ranked;
  for (int i = 0; i < n; ++i) {
    watch();
    const CostRow row = cost.row(i, scratch.data());
    const int keep = std::min(row.count, 8);
    if (keep == 0) continue;
    row.for_each([&](int k, int j) {
      order[k] = k;
      h[k] = row.costs[k] + level[n + j];
    });
    const auto begin = order.begin();
    std::nth_element(begin, begin + keep - 1, begin + row.count, [&](int p, int q) { return h[p] < h[q]; });
    double least = infinity;
    for (int k = 0; k < keep; ++k) least = std::min(least, h[order[k]]);
    if (!std::isfinite(least)) continue;
    level[i] = least;
    for (int k = 0; k < keep; ++k)
      if (std::isfinite(h[order[k]]))
        ranked.push_back({h[order[k]] - least, {i, row.column(order[k]), row.costs[order[k]]}});
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const Ranked& p, const Ranked& q) { return p.excess < q.excess; });
  std::vector<Arc> arcs;
  for (const Ranked& item : ranked) arcs.push_back(item.arc);
  return arcs;
}

// The arcs of an earlier basis, a leaf of what remains at a time: shipping in this order restores its flows.
std::vector<Arc> leaves_first(const PairCost& cost, const std::vector<std::int32_t>& i,
                              const std::vector<std::int32_t>& j) {
  const int n = cost.n;
  std::vector<int> degree(n + cost.m, 0), mark(n + cost.m, 0), queue;  // mark: the xor of the arcs at a node
  for (std::size_t k = 0; k < i.size(); ++k)
    for (const int v : {static_cast<int>(i[k]), n + j[k]}) {
      ++degree[v];
      mark[v] ^= static_cast<int>(k);
    }
  for (int v = 0; v < n + cost.m; ++v)
    if (degree[v] == 1) queue.push_back(v);
  std::vector<Arc> arcs;
  std::vector<std::uint8_t> done(i.size(), 0);
  const auto add = [&](int k) {
    done[k] = 1;
    const double c = cost.at(i[k], j[k]);
    if (std::isfinite(c)) arcs.push_back({i[k], j[k], c});
  };
  for (std::size_t q = 0; q < queue.size(); ++q) {
    const int v = queue[q];
    if (degree[v] != 1) continue;
    const int k = mark[v];
    for (const int u : {static_cast<int>(i[k]), n + j[k]}) {
      mark[u] ^= k;
      if (--degree[u] == 1) queue.push_back(u);
    }
    add(k);
  }
  for (std::size_t k = 0; k < i.size(); ++k)
    if (!done[k]) add(static_cast<int>(k));  // on a cycle: not a basis, but still a hint
  return arcs;
}

// Appends arcs that ship what the others leave over, in any way that finite costs allow.
void complete(const PairCost& cost, const Masses& masses, std::vector<Arc>& arcs) {
  std::vector<std::int64_t> left = masses.a, open = masses.b;
  for (const Arc& arc : arcs) {
    const std::int64_t mass = std::min(left[arc.i], open[arc.j]);
    left[arc.i] -= mass;
    open[arc.j] -= mass;
  }
  for (int i = 0, j = 0; i < cost.n && j < cost.m;) {
    if (left[i] == 0) {
      ++i;
    } else if (open[j] == 0) {
      ++j;
    } else {
      const double c = cost.at(i, j);
      if (!std::isfinite(c)) {
        ++j;
        continue;
      }
      const std::int64_t mass = std::min(left[i], open[j]);
      left[i] -= mass;
      open[j] -= mass;
      arcs.push_back({i, j, c});
    }
  }
}

// A matrix of few points, in which pairs that are left out cost infinity.
std::vector<double> all_costs(const PairCost& cost) {
  std::vector<double> matrix(static_cast<std::size_t>(cost.n) * cost.m, infinity), scratch(padded(cost.m));
  for (int i = 0; i < cost.n; ++i) {
    double* own = matrix.data() + static_cast<std::size_t>(i) * cost.m;
    const CostRow row = cost.row(i, scratch.data());
    row.for_each([&](int k, int j) { own[j] = row.costs[k]; });
  }
  return matrix;
}

bool all_of_one(const Masses& masses, int i, int j, std::int64_t flow) {
  return flow == masses.a[i] || flow == masses.b[j];
}

// The largest flow to drop as rounding: all that are dropped stay below it together, whatever their number.
std::int64_t largest_dust(const std::vector<Flow>& flows, const Masses& masses) {
  std::vector<std::int64_t> small;
  for (const Flow& arc : flows)
    if (arc.mass <= masses.slack && !all_of_one(masses, arc.i, arc.j, arc.mass)) small.push_back(arc.mass);
  std::sort(small.begin(), small.end());
  std::int64_t dust = 0, sum = 0;
  for (const std::int64_t mass : small) {
    sum += mass;
    if (sum > masses.slack) break;
    dust = mass;
  }
  return dust;
}

// The plan in the units of the weights.
void write(const std::vector<Flow>& flows, const Masses& masses, const double* a, const double* b, bool turned,
           Transport& result) {
  const std::int64_t dust = largest_dust(flows, masses);
  for (const Flow& arc : flows) {
    if (arc.mass <= dust && !all_of_one(masses, arc.i, arc.j, arc.mass)) continue;
    result.i.push_back(arc.i);
    result.j.push_back(arc.j);
    const bool whole = turned ? arc.mass == masses.b[arc.j] : arc.mass == masses.a[arc.i];
    result.w.push_back(whole ? (turned ? b[arc.j] : a[arc.i]) : static_cast<double>(arc.mass) * masses.unit);
  }
}

}  // namespace

Transport network_simplex(const PairCost& cost, const double* a, const double* b, const SimplexOptions& options) {
  const int n = cost.n, m = cost.m;
  const Masses masses(a, n, b, m, options.rounding, options.turned);
  Transport result;
  std::vector<Flow> flows;
  if (options.fresh() && SmallTransport::takes(n, m)) {
    const std::vector<double> matrix = all_costs(cost);
    if (n == m && masses.equal()) {
      const MatrixCost pairs(matrix.data(), n, m);
      Assignment bijection(pairs);
      if (bijection.solve()) {
        for (int i = 0; i < n; ++i) flows.push_back({i, bijection.column_of_row()[i], masses.a[i]});
        write(flows, masses, a, b, options.turned, result);
        result.f = bijection.f();
        result.g = bijection.g();
        return result;
      }
    }
    SmallTransport small(matrix, masses.a, masses.b);
    if (small.solve(flows)) {
      write(flows, masses, a, b, options.turned, result);
      small.potentials(result.f, result.g);
      return result;
    }
    flows.clear();
  }
  std::vector<double> level;
  std::vector<Arc> arcs = leaves_first(cost, options.i, options.j);
  for (const Arc& arc : cheap_arcs(cost, options.g, level)) arcs.push_back(arc);
  complete(cost, masses, arcs);
  Tree tree(masses.a, masses.b);
  tree.start(arcs, level.data(), (cost.bound() + 1e-300) * (n + m + 1));
  Simplex simplex(cost, tree, options.max_pivots, masses.slack);

  result.status = simplex.run();
  result.pivots = simplex.pivots();
  tree.each_arc([&](int i, int j, double, std::int64_t flow) {
    if (flow > 0) flows.push_back({i, j, flow});
  });
  write(flows, masses, a, b, options.turned, result);
  result.f.assign(tree.source_potentials(), tree.source_potentials() + n);
  result.g.resize(m);
  for (int j = 0; j < m; ++j) result.g[j] = -tree.target_potentials()[j];
  return result;
}

}  // namespace monge
