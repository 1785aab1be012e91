// What an exact plan and its potentials prove, measured on all pairs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "pair_cost.hpp"

namespace monge {

// Entries of a plan, of which those with w = 0 are padding, the weights that it should have, and potentials, which are
// centred: at the shift at which both sides have the same share of the value.
struct Claim {
  const std::int64_t *i, *j;
  const double* w;
  std::size_t entries;
  const double *a, *b;
  double *f, *g;
};

// The cost with missing mass at its price, the duality gap, the share of mass that is missing, the gap for the plan's own
// marginals, and the size of the numbers that these are differences of.
constexpr std::size_t facts = 5;

void prove(const PairCost& cost, const Claim& claim, double* told);

}  // namespace monge
