#include "relax.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace monge {
namespace {

// The smallest of all lanes, whose columns are `block` and the lane; the first one of equal ones, -1 if all are infinite.
MONGE_INLINE RowMinimum first_of_lanes(Lanes best, LaneMask block) {
  static_assert(lane_count == 4);
  const double left = best[0] < best[1] ? best[0] : best[1], right = best[2] < best[3] ? best[2] : best[3];
  const double value = left < right ? left : right;
  // Without branches, which nothing could predict.
  const LaneMask column = block + LaneMask{0, 1, 2, 3}, last = LaneMask{} + std::numeric_limits<long long>::max();
  const LaneMask among = best == value ? column : last;
  const long long low = among[0] < among[1] ? among[0] : among[1], high = among[2] < among[3] ? among[2] : among[3];
  return {value, value < infinity ? static_cast<int>(low < high ? low : high) : -1};
}

}  // namespace

MONGE_MULTIVERSION TwoSmallest two_smallest(const double* values, const double* h, int m) {
  Lanes first{}, second{};
  first += infinity;
  second += infinity;
  LaneMask block{};
  int j = 0;
  for (; j + lane_count <= m; j += lane_count) {
    const Lanes value = *reinterpret_cast<const Lanes*>(values + j) + *reinterpret_cast<const Lanes*>(h + j);
    const LaneMask smallest = value < first;
    const Lanes larger = smallest ? first : value;
    second = larger < second ? larger : second;
    first = smallest ? value : first;
    block = smallest ? LaneMask{} + j : block;
  }
  TwoSmallest best{infinity, infinity, 0};
  const auto take = [&best](double value, int column) {
    if (value < best.first || (value == best.first && column < best.column)) {
      best.second = best.first;
      best.first = value;
      best.column = column;
    } else if (value < best.second) {
      best.second = value;
    }
  };
  for (int lane = 0; lane < lane_count; ++lane) {
    take(first[lane], static_cast<int>(block[lane]) + lane);
    best.second = std::min(best.second, second[lane]);
  }
  for (; j < m; ++j) take(values[j] + h[j], j);
  return best;
}

MONGE_MULTIVERSION RowMinimum relax(const double* values, const double* h, const double* open, double offset, int row,
                                    double* distance, std::int64_t* from, int m) {
  Lanes best{};
  best += infinity;
  LaneMask block{};
  int j = 0;
  for (; j + lane_count <= m; j += lane_count) {
    const Lanes offer = (*reinterpret_cast<const Lanes*>(values + j) + *reinterpret_cast<const Lanes*>(h + j)) + offset;
    Lanes* here = reinterpret_cast<Lanes*>(distance + j);
    const Lanes closed = *reinterpret_cast<const Lanes*>(open + j);
    const Lanes before = *here;
    const LaneMask shorter = (offer + closed) < before;
    const Lanes after = shorter ? offer : before;
    *here = after;
    LaneMask* origin = reinterpret_cast<LaneMask*>(from + j);
    *origin = shorter ? LaneMask{} + row : *origin;
    const Lanes candidate = after + closed;
    const LaneMask smaller = candidate < best;
    best = smaller ? candidate : best;
    block = smaller ? LaneMask{} + j : block;
  }
  RowMinimum nearest = first_of_lanes(best, block);
  for (; j < m; ++j) {
    const double offer = values[j] + h[j] + offset;
    if (offer + open[j] < distance[j]) {
      distance[j] = offer;
      from[j] = row;
    }
    if (distance[j] + open[j] < nearest.value) nearest = {distance[j] + open[j], j};
  }
  return nearest;
}

MONGE_MULTIVERSION RowMinimum nearest_open(const double* distance, const double* open, int m) {
  Lanes best{};
  best += infinity;
  LaneMask block{};
  int j = 0;
  for (; j + lane_count <= m; j += lane_count) {
    const Lanes value = *reinterpret_cast<const Lanes*>(distance + j) + *reinterpret_cast<const Lanes*>(open + j);
    const LaneMask smaller = value < best;
    best = smaller ? value : best;
    block = smaller ? LaneMask{} + j : block;
  }
  RowMinimum nearest = first_of_lanes(best, block);
  for (; j < m; ++j)
    if (distance[j] + open[j] < nearest.value) nearest = {distance[j], j};
  return nearest;
}

}  // namespace monge
