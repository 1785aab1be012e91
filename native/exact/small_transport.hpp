// Weighted problems of at most 64 points a side, by shortest augmenting paths.
#pragma once

#include <cstdint>
#include <vector>

namespace monge {

struct Flow {
  int i, j;
  std::int64_t mass;
};

// Each row ships what is left of its mass along a shortest path of reduced costs to a column that is still open; on the
// way, mass of other rows may be led elsewhere. The price h[j] = -g[j] of a column only rises. A network simplex, which
// needs a tree, takes several times as long for so few points.
class SmallTransport {
 public:
  static bool takes(int n, int m) { return n <= most && m <= most; }

  // The masses are positive and sum to the same number on both sides; the matrix of costs outlives this.
  SmallTransport(const std::vector<double>& cost, const std::vector<std::int64_t>& a,
                 const std::vector<std::int64_t>& b);

  // Whether the flows are those of an optimal vertex. It is not where pairs are forbidden that all plans need, where ties
  // left a cycle of flows, or where too many paths were short of mass.
  bool solve(std::vector<Flow>& flows);
  void potentials(std::vector<double>& f, std::vector<double>& g) const;

 private:
  static constexpr int most = 64;

  const double* row(int i) const { return cost_.data() + static_cast<std::size_t>(i) * m_; }
  std::int64_t& flow(int i, int j) { return flow_[static_cast<std::size_t>(j) * n_ + i]; }
  void ship(int i, int j, std::int64_t mass);
  void start();
  bool augment(int start);
  bool ship_along_path(int start, int end);

  const int n_, m_;
  const std::vector<double>& cost_;
  std::vector<double> h_, distance_, open_;
  std::vector<std::int64_t> left_, wanted_, flow_;
  std::vector<std::uint64_t> rows_of_;  // of each column: the rows that ship to it, as bits
  std::vector<std::int64_t> from_;        // the row before a column
  std::vector<int> through_;              // the column before a row
  std::vector<int> reached_;
};

}  // namespace monge
