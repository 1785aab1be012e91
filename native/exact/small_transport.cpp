#include "small_transport.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "relax.hpp"

namespace monge {

SmallTransport::SmallTransport(const std::vector<double>& cost, const std::vector<std::int64_t>& a,
                               const std::vector<std::int64_t>& b)
    : n_(static_cast<int>(a.size())), m_(static_cast<int>(b.size())), cost_(cost), h_(m_, infinity), distance_(m_),
      open_(m_), left_(a), wanted_(b), flow_(cost.size(), 0), rows_of_(m_, 0), from_(m_), through_(n_) {}

bool SmallTransport::solve(std::vector<Flow>& flows) {
  start();
  int paths = 16 * (n_ + m_);
  for (int i = 0; i < n_; ++i)
    while (left_[i] > 0)
      if (--paths < 0 || !augment(i)) return false;
  // Flows of a vertex are a forest: the two ends of each of them were apart before it.
  std::vector<int> leader(n_ + m_);
  std::iota(leader.begin(), leader.end(), 0);
  const auto find = [&leader](int v) {
    while (leader[v] != v) v = leader[v] = leader[leader[v]];
    return v;
  };
  for (int j = 0; j < m_; ++j)
    for (std::uint64_t rows = rows_of_[j]; rows != 0; rows &= rows - 1) {
      const int i = __builtin_ctzll(rows), one = find(i), other = find(n_ + j);
      if (one == other) return false;
      leader[one] = other;
      flows.push_back({i, j, flow(i, j)});
    }
  return true;
}

void SmallTransport::potentials(std::vector<double>& f, std::vector<double>& g) const {
  f.assign(n_, infinity);
  g.resize(m_);
  for (int j = 0; j < m_; ++j) g[j] = -h_[j];
  for (int i = 0; i < n_; ++i)
    for (int j = 0; j < m_; ++j) f[i] = std::min(f[i], row(i)[j] + h_[j]);
}

void SmallTransport::ship(int i, int j, std::int64_t mass) {
  left_[i] -= mass;
  wanted_[j] -= mass;
  flow(i, j) += mass;
  rows_of_[j] |= std::uint64_t{1} << i;
}

// The largest feasible g for f = 0, and what can be shipped along pairs that are tight there.
void SmallTransport::start() {
  std::vector<int> lowest(m_, -1);
  for (int i = 0; i < n_; ++i)
    for (int j = 0; j < m_; ++j)
      if (row(i)[j] < h_[j]) {
        h_[j] = row(i)[j];
        lowest[j] = i;
      }
  for (int j = 0; j < m_; ++j) {
    h_[j] = lowest[j] < 0 ? 0 : -h_[j];  // a column that nobody may use shows up when paths are searched
    if (lowest[j] >= 0 && left_[lowest[j]] > 0) ship(lowest[j], j, std::min(left_[lowest[j]], wanted_[j]));
  }
  for (int i = 0; i < n_; ++i)
    while (left_[i] > 0) {
      const TwoSmallest best = two_smallest(row(i), h_.data(), m_);
      if (!std::isfinite(best.second) || wanted_[best.column] == 0) break;
      ship(i, best.column, std::min(left_[i], wanted_[best.column]));
      // Where nobody else ships to it, the column may be as dear as the next one.
      if (rows_of_[best.column] == std::uint64_t{1} << i) h_[best.column] += best.second - best.first;
    }
}

// Paths in the order of their lengths, until the mass of the row is gone or a flow on the way is exhausted: then the
// search begins anew, at prices for which all paths so far have length zero.
bool SmallTransport::augment(int start) {
  std::fill(distance_.begin(), distance_.end(), infinity);
  std::fill(open_.begin(), open_.end(), 0.0);
  reached_.clear();
  std::uint64_t seen = std::uint64_t{1} << start;
  RowMinimum nearest = relax(row(start), h_.data(), open_.data(), 0, start, distance_.data(), from_.data(), m_);
  for (;;) {
    if (!std::isfinite(nearest.value)) return false;
    const int j = nearest.column;
    const double radius = nearest.value;
    if (wanted_[j] > 0 && !ship_along_path(start, j)) {
      for (const int column : reached_) h_[column] += radius - distance_[column];
      return true;
    }
    open_[j] = infinity;
    reached_.push_back(j);
    std::uint64_t rows = rows_of_[j] & ~seen;
    seen |= rows;
    if (rows == 0) nearest = nearest_open(distance_.data(), open_.data(), m_);
    for (; rows != 0; rows &= rows - 1) {
      const int i = __builtin_ctzll(rows);
      through_[i] = j;
      nearest = relax(row(i), h_.data(), open_.data(), radius - (row(i)[j] + h_[j]), i, distance_.data(), from_.data(),
                      m_);
    }
  }
}

// As much as both ends and all flows that are led elsewhere allow. Answers whether the row has more, and the way is open.
bool SmallTransport::ship_along_path(int start, int end) {
  std::int64_t mass = std::min(left_[start], wanted_[end]);
  for (std::int64_t i = from_[end]; i != start; i = from_[through_[i]])
    mass = std::min(mass, flow(static_cast<int>(i), through_[i]));
  wanted_[end] -= mass;
  left_[start] -= mass;
  bool more = left_[start] > 0;
  for (int j = end;;) {
    const int i = static_cast<int>(from_[j]);
    flow(i, j) += mass;
    rows_of_[j] |= std::uint64_t{1} << i;
    if (i == start) return more;
    j = through_[i];
    if ((flow(i, j) -= mass) == 0) {
      rows_of_[j] &= ~(std::uint64_t{1} << i);
      more = false;
    }
  }
}

}  // namespace monge
