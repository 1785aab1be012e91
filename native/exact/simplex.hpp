// Network simplex for the transport problem, over all pairs of a `PairCost`.
#pragma once

#include <cstdint>
#include <vector>

#include "pair_cost.hpp"
#include "tree.hpp"

namespace monge {

enum class Status { optimal = 0, pivot_limit = 1, infeasible = 2 };

struct Transport {
  Status status = Status::optimal;
  std::int64_t pivots = 0;
  std::vector<std::int32_t> i, j;
  std::vector<double> w;
  std::vector<double> f, g;
};

struct SimplexOptions {
  std::int64_t max_pivots = -1;
  // The relative error of the weights: flows that it explains need not fit, and are not reported.
  double rounding = 2.2e-16;
  // Whether the mass of the plan is that of `b`, if they differ by rounding, and not that of `a`.
  bool turned = false;
  // A guess to start from; empty where there is none.
  std::vector<std::int32_t> i, j;
  std::vector<double> f, g;

  bool fresh() const { return max_pivots < 0 && i.empty() && g.empty(); }
};

// All of `a` and `b` are positive, of equal sum up to rounding. The potentials are known up to a shift.
Transport network_simplex(const PairCost& cost, const double* a, const double* b, const SimplexOptions& options);

}  // namespace monge
