// Costs in which only differences are left, where that loses no digit: what the exact solvers compare.
#pragma once

#include <cstddef>
#include <vector>

#include "pair_cost.hpp"

namespace monge {

// Subtracts from every row, then from every column, what its costs share, and scales by a power of two:
// C_ij = row_i + col_j + scale * cost_ij, exactly.
//
// Numbers within a factor of two of each other subtract without error (Sterbenz), so nothing is taken from a row whose
// costs lie further apart. Costs of 1e8 that differ in the last digits would else be told apart only to 1e-14 of 1e8.
class Reduced {
 public:
  // The costs are changed in `room` if they lie there, and copied to it if they must change and do not. They are those
  // of all pairs, or of a list.
  Reduced(const double* cost, int n, int m, std::vector<double>& room, const ArcList* arcs = nullptr);

  const double* cost() const { return cost_; }
  // Potentials of the costs as they were given, from those of the reduced ones.
  double f(int i, double reduced) const { return scale_ * reduced + row_[i]; }
  double g(int j, double reduced) const { return scale_ * reduced + col_[j]; }
  // And the other way.
  double reduced_f(int i, double given) const { return (given - row_[i]) / scale_; }
  double reduced_g(int j, double given) const { return (given - col_[j]) / scale_; }

 private:
  double* changed(std::vector<double>& room, std::size_t size);

  const double* cost_;
  std::vector<double> row_, col_;
  double scale_ = 1;
};

}  // namespace monge
