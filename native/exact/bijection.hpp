// The cheapest bijection between two clouds of n points, for squared Euclidean costs, in memory O(n).
//
// An auction and shortest paths only ever raise prices. So a list of the cheapest columns of a row, with a number that no
// column outside the list costs less than, stays right, and a row is searched again only where its answer may lie outside.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "columns.hpp"
#include "common/watch.hpp"

namespace monge {

class Bijection {
 public:
  // `f` and `g` are guesses of potentials; only the time depends on them.
  Bijection(const double* x, const double* y, const double* f, const double* g, int n, int d, int threads);

  // False if it was given up: the input is one for which this takes longer than solvers that read all costs.
  bool solve();

  // Both in the order of the points as they were given. f_i + g_j <= C_ij holds for all pairs, as a last search over all
  // of them has shown, and with equality for the pairs that are matched, both up to the rounding of double precision.
  const std::vector<std::int64_t>& partner() const { return partner_; }
  const std::vector<double>& f() const { return f_; }
  const std::vector<double>& g() const { return g_; }

 private:
  static constexpr int most = 64;  // columns in a list
  struct Offer {
    double first, second;
    int column, place;
  };

  void arrange(const double* x, const double* y, const double* f, const double* g);
  void measure();
  void list_all();
  void keep(int i, const int* found, int count, double bound);
  bool search_again(int i, double threshold);
  void search_until(int i, double threshold, int wanted);
  double minimum(int i) const;
  Offer offer(int i);
  void match(int i, const Offer& best);
  void release(double tolerance);
  bool auction(double step, std::int64_t bids);
  bool path(int start);
  void augment(int start, int end);
  bool prove();
  void answer();

  const double* row(int i) const { return x_.data() + static_cast<std::size_t>(i) * d_; }
  double value(int i) const { return matched_cost_[i] + columns_->price(column_[i]); }
  bool tired() const { return searches_ > most_searches_; }

  const int n_, d_, threads_;
  double scale_ = 1;                   // of the coordinates, a power of two
  std::vector<int> row_order_, column_order_;
  std::vector<double> x_, start_;      // points, guesses of f
  std::unique_ptr<Columns> columns_;
  // The lists.
  std::vector<int> listed_;
  std::vector<double> costs_, bound_, slack_;
  std::vector<std::uint8_t> count_;
  // The matching.
  std::vector<int> column_, row_, waiting_;
  std::vector<double> matched_cost_;
  // Paths.
  std::vector<double> distance_, offset_;
  std::vector<int> from_, touched_;
  std::vector<std::uint8_t> closed_;
  double mean_ = 1, reach_ = 1;        // of all costs; from the cheapest column of a row to the last of its list
  std::int64_t searches_ = 0, most_searches_;
  std::vector<int> scratch_;
  Watch watch_;
  std::vector<std::int64_t> partner_;
  std::vector<double> f_, g_;
};

}  // namespace monge
