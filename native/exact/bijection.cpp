#include "bijection.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "common/parallel.hpp"

namespace monge {
namespace {

constexpr int wanted = 24;  // columns in a fresh list

// Sorts points into boxes: halves at the median of the longest side, in whole tiles.
void split(const double* points, int d, int* first, int* last) {
  const std::ptrdiff_t count = last - first;
  if (count <= 32) return;
  int side = 0;
  double longest = -1;
  for (int k = 0; k < d; ++k) {
    double low = infinity, high = -infinity;
    for (const int* p = first; p < last; ++p) {
      const double at = points[static_cast<std::size_t>(*p) * d + k];
      low = std::min(low, at);
      high = std::max(high, at);
    }
    if (high - low > longest) {
      longest = high - low;
      side = k;
    }
  }
  int* middle = first + std::max<std::ptrdiff_t>(count / 64, 1) * 32;
  std::nth_element(first, middle, last, [&](int p, int q) {
    return points[static_cast<std::size_t>(p) * d + side] < points[static_cast<std::size_t>(q) * d + side];
  });
  split(points, d, first, middle);
  split(points, d, middle, last);
}

std::vector<int> boxed_order(const double* points, int n, int d) {
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  if (d <= 3) split(points, d, order.data(), order.data() + n);
  return order;
}

}  // namespace

Bijection::Bijection(const double* x, const double* y, const double* f, const double* g, int n, int d, int threads)
    : n_(n), d_(d), threads_(threads), row_order_(boxed_order(x, n, d)), column_order_(boxed_order(y, n, d)),
      listed_(static_cast<std::size_t>(n) * most), costs_(listed_.size()), bound_(n), slack_(n), count_(n, 0),
      column_(n, -1), row_(n, -1), matched_cost_(n), distance_(n, infinity), offset_(n), from_(n), closed_(n, 0),
      most_searches_((d <= 3 ? std::int64_t{60} : std::int64_t{12}) * n), watch_(64) {
  arrange(x, y, f, g);
  scratch_.resize(columns_->room());
}

void Bijection::arrange(const double* x, const double* y, const double* f, const double* g) {
  std::vector<double> centre(d_, 0);
  for (int j = 0; j < n_; ++j)
    for (int k = 0; k < d_; ++k) centre[k] += y[static_cast<std::size_t>(j) * d_ + k] / n_;
  double largest = 0;
  for (std::size_t e = 0; e < static_cast<std::size_t>(n_) * d_; ++e)
    largest = std::max({largest, std::abs(x[e] - centre[e % d_]), std::abs(y[e] - centre[e % d_])});
  if (largest > 0) scale_ = std::ldexp(1.0, -std::ilogb(largest));
  for (double& c : centre) c *= scale_;
  std::vector<double> points(static_cast<std::size_t>(n_) * d_), prices(n_);
  x_.resize(points.size());
  start_.resize(n_);
  double least = infinity, greatest = -infinity;
  for (int j = 0; j < n_; ++j) {
    least = std::min(least, -g[j]);
    greatest = std::max(greatest, -g[j]);
  }
  const double middle = least / 2 + greatest / 2;
  for (int k = 0; k < n_; ++k) {
    const int i = row_order_[k], j = column_order_[k];
    start_[k] = (f[i] - middle) * scale_ * scale_;
    prices[k] = (-g[j] - middle) * scale_ * scale_;
    for (int c = 0; c < d_; ++c) {
      x_[static_cast<std::size_t>(k) * d_ + c] = x[static_cast<std::size_t>(i) * d_ + c] * scale_;
      points[static_cast<std::size_t>(k) * d_ + c] = y[static_cast<std::size_t>(j) * d_ + c] * scale_;
    }
  }
  columns_ = std::make_unique<Columns>(points.data(), prices.data(), centre.data(), n_, d_);
}

// What all costs are on average, and how far a list reaches, from some rows.
void Bijection::measure() {
  std::vector<double> values(n_), means, reaches;
  const int some = std::min(n_, 32);
  for (int s = 0; s < some; ++s) {
    const int i = static_cast<int>(static_cast<std::int64_t>(s) * n_ / some);
    double sum = 0;
    for (int j = 0; j < n_; ++j) {
      const double c = columns_->cost(row(i), j);
      sum += c / n_;
      values[j] = c + columns_->price(j);
    }
    std::nth_element(values.begin(), values.begin() + std::min(wanted, n_ - 1), values.end());
    means.push_back(sum);
    reaches.push_back(values[std::min(wanted, n_ - 1)] - *std::min_element(values.begin(), values.begin() + std::min(wanted, n_ - 1) + 1));
  }
  std::nth_element(means.begin(), means.begin() + some / 2, means.end());
  std::nth_element(reaches.begin(), reaches.begin() + some / 2, reaches.end());
  mean_ = means[some / 2];
  reach_ = std::max(reaches[some / 2], 1e-12 * mean_ + 1e-300);
}

// Makes a list of what was found. The cheapest are kept where they are too many.
void Bijection::keep(int i, const int* found, int count, double bound) {
  const std::size_t first = static_cast<std::size_t>(i) * most;
  if (count <= most) {
    for (int k = 0; k < count; ++k) {
      listed_[first + k] = found[k];
      costs_[first + k] = columns_->cost(row(i), found[k]);
    }
  } else {
    std::vector<std::pair<double, int>> all(count);
    for (int k = 0; k < count; ++k)
      all[k] = {columns_->cost(row(i), found[k]) + columns_->price(found[k]), found[k]};
    std::nth_element(all.begin(), all.begin() + wanted, all.end());
    bound = std::min(bound, all[wanted].first);
    count = wanted;
    for (int k = 0; k < count; ++k) {
      listed_[first + k] = all[k].second;
      costs_[first + k] = columns_->cost(row(i), all[k].second);
    }
  }
  count_[i] = static_cast<std::uint8_t>(count);
  bound_[i] = bound;
  // How far the next search reaches: further, if this one found few.
  slack_[i] = std::max((count < wanted / 2 ? 2 : 1) * (bound - minimum(i)), reach_ / 64);
}

double Bijection::minimum(int i) const {
  const std::size_t first = static_cast<std::size_t>(i) * most;
  double least = infinity;
  for (int k = 0; k < count_[i]; ++k) least = std::min(least, costs_[first + k] + columns_->price(listed_[first + k]));
  return least;
}

// At first with guesses of how far a list reaches: any threshold will do, if everything below it is listed.
void Bijection::list_all() {
  const std::size_t groups = (static_cast<std::size_t>(n_) + 3) / 4;
  const double work = 4.0 * n_ * (columns_->boxed() ? 0.05 : 0.1 * d_);
  parallel_for(groups, 16, work, threads_, [&](std::size_t begin, std::size_t end) {
    std::vector<int> found(4 * columns_->room());
    double reach = reach_;
    for (std::size_t group = begin; group < end; ++group) {
      const double* x[4];
      double threshold[4], bound[4];
      int count[4];
      for (int r = 0; r < 4; ++r) {
        const int i = std::min(static_cast<int>(4 * group) + r, n_ - 1);
        x[r] = row(i);
        threshold[r] = start_[i] + reach;
      }
      columns_->search_four(x, threshold, found.data(), count, bound);
      for (int r = 0; r < 4; ++r) {
        const int i = static_cast<int>(4 * group) + r;
        if (i >= n_) break;
        double more = reach;
        for (int tries = 0; count[r] < std::min(wanted / 2, n_) && tries < 200; ++tries) {
          more *= 2;
          bound[r] = columns_->search(x[r], start_[i] + more, false, found.data() + r * columns_->room(), count + r);
        }
        reach *= count[r] < wanted ? 1.01 : count[r] > wanted * 8 / 5 ? 0.99 : 1;
        keep(i, found.data() + r * columns_->room(), count[r], bound[r]);
      }
    }
  });
}

// Lists anew what costs at most the threshold; in double precision if nothing was gained otherwise.
bool Bijection::search_again(int i, double threshold) {
  int count;
  ++searches_;
  double bound = columns_->search(row(i), threshold, false, scratch_.data(), &count);
  keep(i, scratch_.data(), count, bound);
  if (count > 1 && minimum(i) <= bound_[i]) return true;
  if (columns_->boxed() || count < 2) return false;
  searches_ += 6;
  bound = columns_->search(row(i), threshold, true, scratch_.data(), &count);
  keep(i, scratch_.data(), count, bound);
  return count > 1 && minimum(i) <= bound_[i];
}

// The two cheapest columns of a row; the second may be cheaper than is said, but not than anything unlisted.
Bijection::Offer Bijection::offer(int i) {
  double reach = slack_[i];
  for (int tries = 0;; ++tries) {
    const std::size_t first = static_cast<std::size_t>(i) * most;
    Offer best{infinity, infinity, -1, -1};
    for (int k = 0; k < count_[i]; ++k) {
      const int j = listed_[first + k];
      const double v = costs_[first + k] + columns_->price(j);
      if (v < best.first) {
        best.second = best.first;
        best.first = v;
        best.column = j;
        best.place = k;
      } else if (v < best.second) {
        best.second = v;
      }
    }
    if (best.column >= 0 && (best.first <= bound_[i] || tries > 60)) {
      if (best.first > bound_[i]) searches_ = most_searches_ + 1;  // rounding hides the order: others decide
      best.second = std::min(best.second, std::max(bound_[i], best.first));
      return best;
    }
    const double low = std::isfinite(bound_[i]) ? bound_[i] : start_[i];
    // The first of these may find nothing, but finds few.
    const double threshold = tries < 2 || best.column < 0 ? low + reach : best.first + reach;
    search_again(i, threshold);
    reach *= 2;
  }
}

void Bijection::match(int i, const Offer& best) {
  const int owner = row_[best.column];
  if (owner >= 0) {
    column_[owner] = -1;
    waiting_.push_back(owner);
  }
  row_[best.column] = i;
  column_[i] = best.column;
  matched_cost_[i] = costs_[static_cast<std::size_t>(i) * most + best.place];
}

// Frees the rows whose match costs more than their cheapest column by more than the tolerance.
void Bijection::release(double tolerance) {
  for (int i = 0; i < n_; ++i) {
    if (column_[i] < 0) continue;
    const double mine = value(i);
    if (mine <= std::min(minimum(i), bound_[i]) + tolerance) continue;
    watch_();
    if (mine <= offer(i).first + tolerance) continue;
    row_[column_[i]] = -1;
    column_[i] = -1;
    waiting_.push_back(i);
  }
}

// Rows that wait bid for columns: they raise the price of the cheapest until the second is as good, and by a step more.
// False where the budget ended first. Without a step a chain stops at a tie, and those rows wait on.
bool Bijection::auction(double step, std::int64_t bids) {
  std::vector<int> stuck;
  while (!waiting_.empty()) {
    watch_();
    if (--bids < 0 || tired()) break;
    const int i = waiting_.back();
    waiting_.pop_back();
    const Offer best = offer(i);
    const double raised = columns_->price(best.column) + (best.second - best.first) + step;
    if (!(raised > columns_->price(best.column)) && row_[best.column] >= 0) {
      stuck.push_back(i);
      continue;
    }
    if (!std::isfinite(raised)) {
      stuck.push_back(i);
      continue;
    }
    match(i, best);
    columns_->raise(best.column, raised);
  }
  const bool done = waiting_.empty();
  waiting_.insert(waiting_.end(), stuck.begin(), stuck.end());
  return done;
}

void Bijection::augment(int start, int end) {
  for (int j = end;;) {
    const int i = from_[j], next = column_[i];
    row_[j] = i;
    column_[i] = j;
    matched_cost_[i] = columns_->cost(row(i), j);
    if (i == start) return;
    j = next;
  }
}

// A shortest path from a free row to a free column. A row that is reached offers what is listed; what is not comes when
// the path is as long as its bound, by an event of its own.
bool Bijection::path(int start) {
  using Event = std::pair<double, int>;  // a column, or -1 - row
  std::priority_queue<Event, std::vector<Event>, std::greater<Event>> open;
  touched_.clear();
  const auto relax = [&](int i, int j, double cost) {
    const double there = offset_[i] + (cost + columns_->price(j));
    if (closed_[j] || there >= distance_[j]) return;
    if (distance_[j] == infinity) touched_.push_back(j);
    distance_[j] = there;
    from_[j] = i;
    open.push({there, j});
  };
  std::vector<double> reached_bound;
  std::vector<int> reached;
  const auto reach = [&](int i, double offset) {
    offset_[i] = offset;
    const std::size_t first = static_cast<std::size_t>(i) * most;
    for (int k = 0; k < count_[i]; ++k) relax(i, listed_[first + k], costs_[first + k]);
    open.push({bound_[i] + offset, -1 - static_cast<int>(reached.size())});
    reached.push_back(i);
    reached_bound.push_back(bound_[i]);
  };
  reach(start, 0);
  double radius = 0;
  int end = -1;
  while (!open.empty() && !tired()) {
    watch_();
    const auto [there, what] = open.top();
    open.pop();
    if (what >= 0) {
      if (closed_[what] || there > distance_[what]) continue;
      radius = there;
      if (row_[what] < 0) {
        end = what;
        break;
      }
      closed_[what] = 1;
      const int i = row_[what];
      reach(i, radius - value(i));
      continue;
    }
    const int place = -1 - what, i = reached[place];
    int count;
    double further = std::max(slack_[i], 1e-15 * std::abs(reached_bound[place])), bound;
    bool precise = false;
    do {
      ++searches_;
      bound = columns_->search(row(i), reached_bound[place] + further, precise, scratch_.data(), &count);
      precise |= bound <= reached_bound[place];
      further *= 2;
    } while (bound <= reached_bound[place] && !tired());
    for (int k = 0; k < count; ++k) relax(i, scratch_[k], columns_->cost(row(i), scratch_[k]));
    if (count > 1 && count <= most) keep(i, scratch_.data(), count, bound);
    slack_[i] = std::max(slack_[i], further);
    reached_bound[place] = bound;
    if (count < n_) open.push({bound + offset_[i], what});
  }
  if (end >= 0) augment(start, end);
  for (const int j : touched_) {
    if (end >= 0 && closed_[j]) columns_->raise(j, columns_->price(j) + std::max(radius - distance_[j], 0.0));
    distance_[j] = infinity;
    closed_[j] = 0;
  }
  return end >= 0;
}

// From the points and prices alone: the cheapest column of every row among all.
bool Bijection::prove() {
  f_.resize(n_);
  std::vector<std::uint8_t> bad(n_, 0);
  const std::size_t groups = (static_cast<std::size_t>(n_) + 3) / 4;
  const double work = 4.0 * n_ * (columns_->boxed() ? 0.05 : 0.1 * d_);
  parallel_for(groups, 16, work, threads_, [&](std::size_t begin, std::size_t end) {
    std::vector<int> found(4 * columns_->room());
    for (std::size_t group = begin; group < end; ++group) {
      const double* x[4];
      double threshold[4], bound[4], mine[4];
      int count[4];
      for (int r = 0; r < 4; ++r) {
        const int i = std::min(static_cast<int>(4 * group) + r, n_ - 1);
        x[r] = row(i);
        mine[r] = columns_->cost(x[r], column_[i]) + columns_->price(column_[i]);
        threshold[r] = mine[r] + std::max(reach_ / 16, 1e-12 * mean_);
      }
      columns_->search_four(x, threshold, found.data(), count, bound);
      for (int r = 0; r < 4; ++r) {
        const int i = static_cast<int>(4 * group) + r;
        if (i >= n_) break;
        int* const here = found.data() + r * columns_->room();
        if (bound[r] < mine[r] && !columns_->boxed())
          bound[r] = columns_->search(x[r], threshold[r], true, here, count + r);
        double least = mine[r];
        for (int k = 0; k < count[r]; ++k)
          least = std::min(least, columns_->cost(x[r], here[k]) + columns_->price(here[k]));
        f_[i] = least;
        bad[i] = bound[r] < least;
      }
    }
  });
  return std::find(bad.begin(), bad.end(), 1) == bad.end();
}

void Bijection::answer() {
  partner_.resize(n_);
  g_.resize(n_);
  std::vector<double> f(n_);
  const double back = 1 / (scale_ * scale_);
  for (int k = 0; k < n_; ++k) {
    partner_[row_order_[k]] = column_order_[column_[k]];
    f[row_order_[k]] = f_[k] * back;
    g_[column_order_[k]] = -columns_->price(k) * back;
  }
  f_ = std::move(f);
}

bool Bijection::solve() {
  measure();
  list_all();
  const bool low = columns_->boxed();
  double step = std::min(low ? mean_ / n_ : 2e-3 * mean_, 2 * reach_);
  const double last = low ? 0.01 * mean_ / n_ : 1e-6 * mean_;
  for (int i = n_; i-- > 0;) waiting_.push_back(i);
  const std::int64_t budget = std::int64_t{400} * n_;
  for (;; step /= 5) {
    if (!auction(step, budget)) return false;
    if (step <= last) break;
    release(step / 5);
  }
  for (int round = 0; round < 2; ++round) {
    release(0);
    auction(0, std::int64_t{8} * n_);
  }
  if (tired()) return false;
  most_searches_ = searches_ + std::int64_t{25} * n_;
  std::vector<int> free(waiting_);
  waiting_.clear();
  for (const int i : free)
    if (column_[i] < 0 && !path(i)) return false;
  if (!prove()) return false;
  answer();
  return true;
}

}  // namespace monge
