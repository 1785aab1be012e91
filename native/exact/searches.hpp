// The vectorised work of `Columns`, one table of functions for each instruction set.
#pragma once

#include <cstddef>

namespace monge {

// Columns stand in tiles of 32, a coordinate at a time: coordinate k of column j is at[(j / 32 * d + k) * 32 + j % 32].
// Columns that cost at most a threshold are written to `found` by increasing number; there is room for 32 more.
struct Searches {
  // levels[j] + sum_k x[k] at(j, k), for one row and for four, x[k * 4 + r], whose columns are `room` apart.
  int (*screen)(const float* x, const float* at, const float* levels, int tiles, int d, float threshold, int* found);
  void (*screen_four)(const float* x, const float* at, const float* levels, int tiles, int d, const float* threshold,
                      int* found, std::size_t room, int* count);
  // prices[j] + sum_k (at(j, k) - x[k])^2. Boxes, of which coordinate k of tile t is low[k * tiles + t], leave out tiles
  // whose lowest price and distance add up to more; without them all tiles are read.
  int (*differences)(const double* x, const double* at, const double* prices, const double* low, const double* high,
                     const double* least, int tiles, int d, double threshold, int* found);
};

const Searches& searches();  // for the processor this runs on

}  // namespace monge
