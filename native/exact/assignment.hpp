// The assignment problem: shortest augmenting paths after a short auction.
#pragma once

#include <cstdint>
#include <vector>

#include "common/watch.hpp"
#include "pair_cost.hpp"

namespace monge {

class Assignment {
 public:
  // `cost` is square.
  explicit Assignment(const PairCost& cost);

  // False if every permutation uses a forbidden pair.
  bool solve();

  const std::vector<int>& column_of_row() const { return column_; }
  const std::vector<double>& f() const { return f_; }
  const std::vector<double>& g() const { return g_; }

 private:
  void reduce_columns();
  void bid(int rounds);
  bool augment(int row);
  bool paths_are_long() const { return scans_ > 24 * static_cast<std::int64_t>(n_) && n_ >= 256; }
  bool finish_by_simplex();

  const PairCost& cost_;
  const int n_;
  std::vector<int> column_, row_;  // matched partners; -1: free
  std::vector<double> f_, g_, h_;  // h = -g, padded
  std::vector<double> distance_, open_, scratch_;
  std::vector<std::int64_t> from_;
  std::vector<int> reached_;
  std::int64_t scans_ = 0;
  Watch watch_;
};

}  // namespace monge
