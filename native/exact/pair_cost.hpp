// The cost of every pair (i, j), read from a matrix or computed from points, a row at a time.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/multiversion.hpp"

namespace monge {

constexpr double infinity = std::numeric_limits<double>::infinity();

// Room for m numbers and the padding that the row loops may read.
constexpr int column_block = 32;
// Rows and columns, one after the other and padded, are counted by an int.
constexpr std::size_t most_nodes = std::numeric_limits<int>::max() / 4;
inline int padded(int m) { return (m + column_block - 1) / column_block * column_block; }

struct RowMinimum {
  double value;
  int column;
};

// What the pairs of a row cost, and their columns in increasing order; without columns, these are all.
struct CostRow {
  const double* costs;
  int count;
  const std::int32_t* columns = nullptr;

  int column(int k) const { return columns ? columns[k] : k; }
  // Calls visit(k, column) for every k; apart, so that the loop over all columns stays one over consecutive numbers.
  template <class Visit>
  void for_each(const Visit& visit) const {
    if (columns)
      for (int k = 0; k < count; ++k) visit(k, columns[k]);
    else
      for (int k = 0; k < count; ++k) visit(k, k);
  }
};

// Costs are finite or +infinity, which forbids the pair; so does a row that leaves it out.
class PairCost {
 public:
  PairCost(int n, int m) : n(n), m(m) {}
  virtual ~PairCost() = default;
  const int n, m;

  virtual double at(int i, int j) const = 0;
  // The costs of a row, in `scratch`, which has room for padded(m), or where they are already.
  virtual CostRow row(int i, double* scratch) const = 0;
  // min_j cost(i, j) + h[j], the first column that attains it; h holds padded(m) numbers, infinite beyond m.
  virtual RowMinimum row_minimum(int i, const double* h) const = 0;
  // No finite cost is larger in absolute value.
  virtual double bound() const = 0;
};

class MatrixCost final : public PairCost {
 public:
  MatrixCost(const double* cost, int n, int m) : PairCost(n, m), cost_(cost) {}
  double at(int i, int j) const override { return cost_[static_cast<std::size_t>(i) * m + j]; }
  CostRow row(int i, double*) const override { return {cost_ + static_cast<std::size_t>(i) * m, m}; }
  RowMinimum row_minimum(int i, const double* h) const override;
  double bound() const override;

 private:
  const double* cost_;
};

// The pairs that may meet, row after row: those of row i are first[i] to first[i + 1], by increasing column.
struct ArcList {
  const std::int64_t* first;
  const std::int32_t* column;
};

class ArcCost final : public PairCost {
 public:
  ArcCost(ArcList arcs, const double* cost, int n, int m)
      : PairCost(n, m), first_(arcs.first), column_(arcs.column), cost_(cost) {}
  double at(int i, int j) const override;
  CostRow row(int i, double*) const override {
    return {cost_ + first_[i], static_cast<int>(first_[i + 1] - first_[i]), column_ + first_[i]};
  }
  RowMinimum row_minimum(int i, const double* h) const override;
  double bound() const override;

 private:
  const std::int64_t* first_;
  const std::int32_t* column_;
  const double* cost_;
};

// How points make a cost: (sum_k |x_ik - y_jk|^p)^(power / p), where p may be infinite, or -<x_i, y_j>.
struct PointRule {
  bool dot;
  double p, power;
};

// Keeps y transposed in blocks: memory O(m d).
class PointCost final : public PairCost {
 public:
  PointCost(const double* x, const double* y, int n, int m, int d, PointRule rule);
  double at(int i, int j) const override;
  CostRow row(int i, double* scratch) const override;
  RowMinimum row_minimum(int i, const double* h) const override;
  double bound() const override { return bound_; }

 private:
  const double* x_;
  const int d_;
  const PointRule rule_;
  const double exponent_;
  std::vector<double> blocks_;  // padded(m) / column_block blocks of (d, column_block)
  double bound_;
};

}  // namespace monge
