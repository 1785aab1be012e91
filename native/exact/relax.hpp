// What a row offers, as searches for shortest paths ask: what the loops of `Assignment` and `SmallTransport` share.
#pragma once

#include <cstdint>

#include "pair_cost.hpp"

namespace monge {

struct TwoSmallest {
  double first, second;
  int column;  // of the first
};

// The two smallest of values[j] + h[j].
TwoSmallest two_smallest(const double* values, const double* h, int m);

// Lowers distances to what the path through one more row offers, and finds the nearest column that is still open.
// `open` is zero for an open column and infinite for a closed one.
RowMinimum relax(const double* values, const double* h, const double* open, double offset, int row, double* distance,
                 std::int64_t* from, int m);
RowMinimum nearest_open(const double* distance, const double* open, int m);

}  // namespace monge
