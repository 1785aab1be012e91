// A transport problem as it is given: atoms may be absent, and either side may be the longer one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "pair_cost.hpp"
#include "simplex.hpp"

namespace monge {

// Points (n, d) and (m, d) with the rule that makes a cost of two of them; with arcs, `first` holds what each of them
// costs; with neither, it is a matrix (n, m).
struct GivenCost {
  int n, m;
  const double *first, *second = nullptr;
  int d = 0;
  std::optional<PointRule> rule{};
  std::optional<ArcList> arcs{};

  std::unique_ptr<PairCost> pairs() const;
};

// Weights are not negative, and an atom without weight takes no part. Hints are null where there is none: arcs of an
// earlier plan, of which those with w = 0 are padding, and guesses of potentials.
struct GivenProblem {
  GivenCost cost;
  const double *a, *b;
  const std::int64_t *i, *j;
  const double* w;
  std::size_t arcs;
  const double *f, *g;
};

// Where the answer goes: at most n + m - 1 entries of a plan, behind which nothing is written, and potentials.
struct Answer {
  std::int64_t *i, *j;
  double *w, *f, *g;
};

// The potentials share the value equally between the two sides; that of an absent atom is the largest that is feasible.
Status solve_given(const GivenProblem& problem, std::int64_t max_pivots, double rounding, const Answer& answer);

}  // namespace monge
