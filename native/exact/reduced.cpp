#include "reduced.hpp"

#include <algorithm>
#include <cmath>

namespace monge {
namespace {

// Sums of many costs, and their rounding, must stay far from both ends of the numbers.
constexpr double kSmall = 1e-150, kLarge = 1e150;

// The smallest and the largest finite cost; the wrong way round where there is none.
struct Range {
  double low = infinity, high = -infinity;

  // What can be taken from all of them.
  double shared() const {
    if (low > 0 && high <= 2 * low) return std::isfinite(low) ? low : 0;
    return high < 0 && low >= 2 * high && std::isfinite(high) ? high : 0;
  }
};

MONGE_MULTIVERSION void widen(const double* costs, int count, double* low, double* high) {
  for (int j = 0; j < count; ++j) {
    const double cost = costs[j], finite = cost < infinity ? cost : -infinity;
    low[j] = cost < low[j] ? cost : low[j];
    high[j] = finite > high[j] ? finite : high[j];
  }
}

Range range_of(const double* costs, int count) {
  double low[lane_count], high[lane_count];
  std::fill_n(low, lane_count, infinity);
  std::fill_n(high, lane_count, -infinity);
  for (int j = 0; j < count; j += lane_count) widen(costs + j, std::min(lane_count, count - j), low, high);
  return {*std::min_element(low, low + lane_count), *std::max_element(high, high + lane_count)};
}

}  // namespace

Reduced::Reduced(const double* cost, int n, int m, std::vector<double>& room, const ArcList* arcs)
    : cost_(cost), row_(n), col_(m) {
  const auto begin = [&](int i) { return static_cast<std::size_t>(arcs ? arcs->first[i] : std::int64_t{i} * m); };
  const auto length = [&](int i) { return static_cast<int>(begin(i + 1) - begin(i)); };
  const std::size_t size = begin(n);
  for (int i = 0; i < n; ++i) {
    row_[i] = range_of(cost_ + begin(i), length(i)).shared();
    if (row_[i] == 0) continue;
    double* costs = changed(room, size) + begin(i);
    for (int k = 0; k < length(i); ++k) costs[k] -= row_[i];
  }
  std::vector<double> low(m, infinity), high(m, -infinity);
  for (int i = 0; i < n; ++i) {
    const double* costs = cost_ + begin(i);
    if (!arcs) {
      widen(costs, m, low.data(), high.data());
      continue;
    }
    for (int k = 0; k < length(i); ++k) {
      const int j = arcs->column[begin(i) + k];
      widen(costs + k, 1, &low[j], &high[j]);
    }
  }
  double largest = 0;
  bool any = false;
  for (int j = 0; j < m; ++j) {
    const Range range{low[j], high[j]};
    col_[j] = range.shared();
    any = any || col_[j] != 0;
    for (const double end : {range.low - col_[j], range.high - col_[j]})
      if (std::isfinite(end)) largest = std::max(largest, std::abs(end));
  }
  if (largest > 0 && !(kSmall < largest && largest < kLarge)) {
    int exponent;
    std::frexp(largest, &exponent);
    scale_ = std::ldexp(1.0, std::min(exponent, 1023));
  }
  if (!any && scale_ == 1) return;
  double* costs = changed(room, size);
  for (int i = 0; i < n; ++i) {
    double* line = costs + begin(i);
    for (int k = 0; k < length(i); ++k) line[k] = (line[k] - col_[arcs ? arcs->column[begin(i) + k] : k]) / scale_;
  }
}

double* Reduced::changed(std::vector<double>& room, std::size_t size) {
  if (cost_ != room.data()) {
    room.assign(cost_, cost_ + size);
    cost_ = room.data();
  }
  return room.data();
}

}  // namespace monge
