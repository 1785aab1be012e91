#include "assignment.hpp"

#include <algorithm>
#include <cmath>

#include "relax.hpp"
#include "simplex.hpp"

namespace monge {

Assignment::Assignment(const PairCost& cost)
    : cost_(cost), n_(cost.n), column_(n_, -1), row_(n_, -1), f_(n_, 0), g_(n_, 0), h_(padded(n_), infinity),
      distance_(n_), open_(n_), scratch_(padded(n_)), from_(n_), watch_(n_) {}

bool Assignment::solve() {
  reduce_columns();
  bid(4);
  for (int i = 0; i < n_; ++i) {
    if (column_[i] >= 0) continue;
    if (paths_are_long()) return finish_by_simplex();
    if (!augment(i)) return false;
  }
  for (int j = 0; j < n_; ++j) g_[j] = -h_[j];
  for (int i = 0; i < n_; ++i) f_[i] = cost_.at(i, column_[i]) - g_[column_[i]];
  return true;
}

// The largest feasible g for f = 0.
void Assignment::reduce_columns() {
  std::vector<int> lowest(n_, -1);
  std::fill_n(h_.begin(), n_, infinity);
  for (int i = 0; i < n_; ++i) {
    watch_();
    const double* line = cost_.row(i, scratch_.data()).costs;
    for (int j = 0; j < n_; ++j)
      if (line[j] < h_[j]) {
        h_[j] = line[j];
        lowest[j] = i;
      }
  }
  for (int j = 0; j < n_; ++j) {
    h_[j] = lowest[j] < 0 ? 0 : -h_[j];  // a column that nobody may use shows up when paths are searched
    if (lowest[j] >= 0 && column_[lowest[j]] < 0) {
      column_[lowest[j]] = j;
      row_[j] = lowest[j];
    }
  }
  // A matched pair must be tight for its row, too.
  for (int i = 0; i < n_; ++i) {
    if (column_[i] < 0) continue;
    watch_();
    const double* line = cost_.row(i, scratch_.data()).costs;
    const TwoSmallest best = two_smallest(line, h_.data(), n_);
    if (best.first < line[column_[i]] + h_[column_[i]]) {
      row_[column_[i]] = -1;
      column_[i] = -1;
    } else if (best.column == column_[i] && std::isfinite(best.second)) {
      h_[column_[i]] += best.second - best.first;
    }
  }
}

// Each free row takes its best column and raises the price until the second best is as good.
void Assignment::bid(int rounds) {
  std::vector<int> waiting, displaced;
  for (int i = 0; i < n_; ++i)
    if (column_[i] < 0) waiting.push_back(i);
  for (int round = 0; round < rounds && !waiting.empty(); ++round) {
    displaced.clear();
    std::int64_t budget = 4 * static_cast<std::int64_t>(n_);
    for (std::size_t k = 0; k < waiting.size(); ++k) {
      int i = waiting[k];
      while (i >= 0) {
        watch_();
        const double* line = cost_.row(i, scratch_.data()).costs;
        const TwoSmallest best = two_smallest(line, h_.data(), n_);
        if (!std::isfinite(best.second)) {  // no finite price would do; paths decide
          displaced.push_back(i);
          break;
        }
        const int owner = row_[best.column];
        const bool tie = !(best.first < best.second);
        if (tie && owner >= 0) {  // it would only be passed round
          displaced.push_back(i);
          break;
        }
        h_[best.column] += best.second - best.first;
        row_[best.column] = i;
        column_[i] = best.column;
        i = owner;
        if (owner >= 0) {
          column_[owner] = -1;
          if (--budget < 0) {
            displaced.push_back(owner);
            break;
          }
        }
      }
    }
    waiting.swap(displaced);
  }
}

// A shortest path in reduced costs from a free row to a free column; potentials follow, so that they stay feasible.
bool Assignment::augment(int start) {
  std::fill(distance_.begin(), distance_.end(), infinity);
  std::fill(open_.begin(), open_.end(), 0.0);
  reached_.clear();
  int i = start;
  // Distances are counted from the potential of the start, so that it need not be known.
  double offset = 0, radius = 0;
  for (;;) {
    ++scans_;
    watch_();
    const double* line = cost_.row(i, scratch_.data()).costs;
    const RowMinimum nearest =
        relax(line, h_.data(), open_.data(), offset, i, distance_.data(), from_.data(), n_);
    if (!std::isfinite(nearest.value)) return false;
    const int j = nearest.column;
    radius = nearest.value;
    if (row_[j] < 0) {
      for (const int column : reached_) h_[column] += radius - distance_[column];
      for (int end = j;;) {
        const int row = static_cast<int>(from_[end]), next = column_[row];
        row_[end] = row;
        column_[row] = end;
        if (row == start) return true;
        end = next;
      }
    }
    open_[j] = infinity;
    reached_.push_back(j);
    i = row_[j];
    offset = radius - (cost_.at(i, j) + h_[j]);
  }
}

bool Assignment::finish_by_simplex() {
  SimplexOptions options;
  options.g.resize(n_);
  for (int j = 0; j < n_; ++j) options.g[j] = -h_[j];
  for (int i = 0; i < n_; ++i)
    if (column_[i] >= 0) {
      options.i.push_back(i);
      options.j.push_back(column_[i]);
    }
  const std::vector<double> ones(n_, 1.0);
  Transport plan = network_simplex(cost_, ones.data(), ones.data(), options);
  if (plan.status != Status::optimal) return false;
  for (std::size_t k = 0; k < plan.i.size(); ++k) column_[plan.i[k]] = plan.j[k];
  f_ = std::move(plan.f);
  g_ = std::move(plan.g);
  return true;
}

}  // namespace monge
