#include "proof.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace monge {
namespace {

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

}  // namespace

void prove(const PairCost& cost, const Claim& claim, double* told) {
  Side rows(cost.n, claim.a, claim.f), columns(cost.m, claim.b, claim.g);
  const std::size_t m = columns.count;
  const std::int64_t *i = claim.i, *j = claim.j;
  const double* w = claim.w;
  long double total = 0, moved = 0;
  for (std::size_t k = 0; k < claim.entries; ++k) {
    if (w[k] == 0) continue;
    rows.met[i[k]] += w[k];
    columns.met[j[k]] += w[k];
    moved += w[k];
    total += static_cast<long double>(w[k]) * cost.at(static_cast<int>(i[k]), static_cast<int>(j[k]));
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
  for (std::size_t k = 0; k < rows.count; ++k)
    lowered[k] = std::min(rows.potential[k], cost.row_minimum(static_cast<int>(k), h.data()).value);

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

}  // namespace monge
