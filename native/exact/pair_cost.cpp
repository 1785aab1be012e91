#include "pair_cost.hpp"

#include <algorithm>
#include <cmath>

namespace monge {
namespace {

// A running minimum in each lane, with the block it came from.
struct LaneMinimum {
  Lanes value;
  LaneMask block;
};

MONGE_INLINE LaneMinimum nothing_yet() {
  LaneMinimum best{};
  best.value += infinity;
  return best;
}

MONGE_INLINE void lower(LaneMinimum& best, Lanes value, long long block) {
  const LaneMask smaller = value < best.value;
  best.value = smaller ? value : best.value;
  best.block = smaller ? LaneMask{} + block : best.block;
}

MONGE_INLINE RowMinimum reduce(const LaneMinimum& best) {
  RowMinimum result{infinity, 0};
  for (int lane = 0; lane < lane_count; ++lane) {
    const int column = static_cast<int>(best.block[lane]) * lane_count + lane;
    if (best.value[lane] < result.value || (best.value[lane] == result.value && column < result.column))
      result = {best.value[lane], column};
  }
  return result;
}

MONGE_MULTIVERSION RowMinimum matrix_row_minimum(const double* cost, const double* h, int m) {
  LaneMinimum even = nothing_yet(), odd = nothing_yet();
  int block = 0;
  for (; (block + 2) * lane_count <= m; block += 2) {
    const Lanes* c = reinterpret_cast<const Lanes*>(cost + block * lane_count);
    const Lanes* shift = reinterpret_cast<const Lanes*>(h + block * lane_count);
    lower(even, c[0] + shift[0], block);
    lower(odd, c[1] + shift[1], block + 1);
  }
  const RowMinimum first = reduce(even), second = reduce(odd);
  RowMinimum result = second.value < first.value || (second.value == first.value && second.column < first.column)
                          ? second
                          : first;
  for (int j = block * lane_count; j < m; ++j)
    if (cost[j] + h[j] < result.value) result = {cost[j] + h[j], j};
  return result;
}

// What is summed over coordinates. `Finish` leaves the sum alone, takes its root, or any power of it.
enum class Norm { square, absolute, maximum, general, dot };
enum class Finish { none, root, general };

struct Block {
  Lanes part[column_block / lane_count];
};

template <Norm norm, Finish finish>
MONGE_INLINE Block distance_block(const double* x, const double* y, int d, double p, double exponent) {
  constexpr int parts = column_block / lane_count;
  Block total{};
  for (int k = 0; k < d; ++k) {
    const Lanes* values = reinterpret_cast<const Lanes*>(y + static_cast<std::size_t>(k) * column_block);
    for (int part = 0; part < parts; ++part) {
      Lanes gap = values[part] - x[k];
      if constexpr (norm == Norm::dot) {
        total.part[part] -= values[part] * x[k];
      } else if constexpr (norm == Norm::square) {
        total.part[part] += gap * gap;
      } else {
        gap = gap < 0 ? -gap : gap;
        if constexpr (norm == Norm::absolute) {
          total.part[part] += gap;
        } else if constexpr (norm == Norm::maximum) {
          total.part[part] = gap > total.part[part] ? gap : total.part[part];
        } else {
          for (int lane = 0; lane < lane_count; ++lane) total.part[part][lane] += std::pow(gap[lane], p);
        }
      }
    }
  }
  if constexpr (finish != Finish::none) {
    for (int part = 0; part < parts; ++part)
      for (int lane = 0; lane < lane_count; ++lane)
        total.part[part][lane] = finish == Finish::root ? std::sqrt(total.part[part][lane])
                                                        : std::pow(total.part[part][lane], exponent);
  }
  return total;
}

template <Norm norm, Finish finish>
MONGE_INLINE RowMinimum point_row_minimum(const double* x, const double* blocks, const double* h, int m, int d,
                                          double p, double exponent) {
  constexpr int parts = column_block / lane_count;
  LaneMinimum best = nothing_yet();
  for (int j = 0; j < m; j += column_block) {
    const Block cost = distance_block<norm, finish>(x, blocks + static_cast<std::size_t>(j) * d, d, p, exponent);
    const Lanes* shift = reinterpret_cast<const Lanes*>(h + j);
    for (int part = 0; part < parts; ++part) lower(best, cost.part[part] + shift[part], j / lane_count + part);
  }
  return reduce(best);
}

template <Norm norm, Finish finish>
MONGE_INLINE void point_row(const double* x, const double* blocks, double* out, int m, int d, double p,
                            double exponent) {
  for (int j = 0; j < m; j += column_block)
    *reinterpret_cast<Block*>(out + j) =
        distance_block<norm, finish>(x, blocks + static_cast<std::size_t>(j) * d, d, p, exponent);
}

struct PointRow {
  const double *x, *blocks;
  int m, d;
  double p, exponent;
};

// One pair of entry points per norm: the multiversioned functions cannot be templates.
#define MONGE_POINT_LOOPS(name, norm, finish)                                              \
  MONGE_MULTIVERSION RowMinimum name##_minimum(const PointRow& r, const double* h) {       \
    return point_row_minimum<norm, finish>(r.x, r.blocks, h, r.m, r.d, r.p, r.exponent);   \
  }                                                                                        \
  MONGE_MULTIVERSION void name##_row(const PointRow& r, double* out) {                     \
    point_row<norm, finish>(r.x, r.blocks, out, r.m, r.d, r.p, r.exponent);                \
  }
MONGE_POINT_LOOPS(square, Norm::square, Finish::none)
MONGE_POINT_LOOPS(euclidean, Norm::square, Finish::root)
MONGE_POINT_LOOPS(square_power, Norm::square, Finish::general)
MONGE_POINT_LOOPS(absolute, Norm::absolute, Finish::none)
MONGE_POINT_LOOPS(absolute_power, Norm::absolute, Finish::general)
MONGE_POINT_LOOPS(maximum, Norm::maximum, Finish::none)
MONGE_POINT_LOOPS(maximum_power, Norm::maximum, Finish::general)
MONGE_POINT_LOOPS(minkowski, Norm::general, Finish::none)
MONGE_POINT_LOOPS(minkowski_power, Norm::general, Finish::general)
MONGE_POINT_LOOPS(dot, Norm::dot, Finish::none)
#undef MONGE_POINT_LOOPS

using RowLoop = void (*)(const PointRow&, double*);
using MinimumLoop = RowMinimum (*)(const PointRow&, const double*);
struct Loops {
  RowLoop row;
  MinimumLoop minimum;
};

Loops choose(const PointRule& rule, double exponent) {
  const double p = rule.p, e = exponent;
  if (rule.dot) return {dot_row, dot_minimum};
  if (p == 2 && e == 1) return {square_row, square_minimum};
  if (p == 2 && e == 0.5) return {euclidean_row, euclidean_minimum};
  if (p == 2) return {square_power_row, square_power_minimum};
  if (p == 1 && e == 1) return {absolute_row, absolute_minimum};
  if (p == 1) return {absolute_power_row, absolute_power_minimum};
  if (std::isinf(p) && e == 1) return {maximum_row, maximum_minimum};
  if (std::isinf(p)) return {maximum_power_row, maximum_power_minimum};
  if (e == 1) return {minkowski_row, minkowski_minimum};
  return {minkowski_power_row, minkowski_power_minimum};
}

// What the cost can reach on boxes around the points.
double largest_cost(const double* x, const double* y, int n, int m, int d, const PointRule& rule, double exponent) {
  double total = 0;
  for (int k = 0; k < d; ++k) {
    double low = infinity, high = -infinity, size_x = 0, size_y = 0;
    for (int i = 0; i < n; ++i) {
      const double value = x[static_cast<std::size_t>(i) * d + k];
      low = std::min(low, value);
      high = std::max(high, value);
      size_x = std::max(size_x, std::abs(value));
    }
    for (int j = 0; j < m; ++j) {
      const double value = y[static_cast<std::size_t>(j) * d + k];
      low = std::min(low, value);
      high = std::max(high, value);
      size_y = std::max(size_y, std::abs(value));
    }
    const double gap = std::max(high - low, 0.0);
    if (rule.dot)
      total += size_x * size_y;
    else
      total = std::isinf(rule.p) ? std::max(total, gap) : total + std::pow(gap, rule.p);
  }
  return exponent == 1 ? total : std::pow(total, exponent);
}

}  // namespace

double ArcCost::at(int i, int j) const {
  const std::int32_t *begin = column_ + first_[i], *end = column_ + first_[i + 1];
  const std::int32_t* found = std::lower_bound(begin, end, j);
  return found != end && *found == j ? cost_[found - column_] : infinity;
}

RowMinimum ArcCost::row_minimum(int i, const double* h) const {
  RowMinimum best{infinity, 0};
  for (std::int64_t k = first_[i]; k < first_[i + 1]; ++k) {
    const double value = cost_[k] + h[column_[k]];
    if (value < best.value) best = {value, column_[k]};
  }
  return best;
}

double ArcCost::bound() const {
  double largest = 0;
  for (std::int64_t k = 0; k < first_[n]; ++k) largest = std::max(largest, std::abs(cost_[k]));
  return largest;
}

RowMinimum MatrixCost::row_minimum(int i, const double* h) const {
  return matrix_row_minimum(cost_ + static_cast<std::size_t>(i) * m, h, m);
}

double MatrixCost::bound() const {
  double largest = 0;
  for (std::size_t k = 0; k < static_cast<std::size_t>(n) * m; ++k)
    if (std::isfinite(cost_[k])) largest = std::max(largest, std::abs(cost_[k]));
  return largest;
}

PointCost::PointCost(const double* x, const double* y, int n, int m, int d, PointRule rule)
    : PairCost(n, m), x_(x), d_(d), rule_(rule),
      exponent_(rule.dot ? 1 : std::isinf(rule.p) ? rule.power : rule.power / rule.p),
      blocks_(static_cast<std::size_t>(padded(m)) * d), bound_(largest_cost(x, y, n, m, d, rule, exponent_)) {
  for (int j = 0; j < m; ++j) {
    double* block = blocks_.data() + static_cast<std::size_t>(j / column_block) * column_block * d;
    for (int k = 0; k < d; ++k)
      block[static_cast<std::size_t>(k) * column_block + j % column_block] = y[static_cast<std::size_t>(j) * d + k];
  }
}

// The same vector code as the rows, on the one block that holds j: equal pairs get equal costs, bit for bit.
double PointCost::at(int i, int j) const {
  const int block = j / column_block;
  const PointRow r{x_ + static_cast<std::size_t>(i) * d_,
                   blocks_.data() + static_cast<std::size_t>(block) * column_block * d_, column_block, d_, rule_.p,
                   exponent_};
  double out[column_block];
  choose(rule_, exponent_).row(r, out);
  return out[j % column_block];
}

CostRow PointCost::row(int i, double* scratch) const {
  const PointRow r{x_ + static_cast<std::size_t>(i) * d_, blocks_.data(), m, d_, rule_.p, exponent_};
  choose(rule_, exponent_).row(r, scratch);
  return {scratch, m};
}

RowMinimum PointCost::row_minimum(int i, const double* h) const {
  const PointRow r{x_ + static_cast<std::size_t>(i) * d_, blocks_.data(), m, d_, rule_.p, exponent_};
  return choose(rule_, exponent_).minimum(r, h);
}

}  // namespace monge
