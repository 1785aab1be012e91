// Points with prices, among which the ones that are cheap for another point are found without a matrix.
//
// What column j costs a point x is |x - y_j|^2 + p_j. Prices only ever rise, so what a search has proved of the columns
// that it left out stays true.
#pragma once

#include <cstdint>
#include <vector>

#include "pair_cost.hpp"

namespace monge {

class Columns {
 public:
  // `y` holds m points of dimension d, not much further than one from `centre`, as are the points that ask. In up to
  // three dimensions boxes of points are left out unseen and everything is computed in double precision; in more,
  // numbers of single precision are a screen in front of it.
  Columns(const double* y, const double* prices, const double* centre, int m, int d);

  const int m, d;

  double cost(const double* x, int j) const;
  double price(int j) const { return prices_[j]; }
  void raise(int j, double price);

  // Writes the columns that cost x at most `threshold`, and perhaps a few more, in increasing order, and how many they
  // are. No other column costs less than the answer, rounding included. There is room for `room` columns. `precise` asks for
  // double precision.
  double search(const double* x, double threshold, bool precise, int* found, int* count) const;
  // The same for four points at a time, whose columns follow each other in `found`, `room` apart.
  void search_four(const double* const* x, const double* threshold, int* found, int* count, double* bound) const;

  std::size_t room() const { return static_cast<std::size_t>(tiles_) * tile + tile; }
  bool boxed() const { return boxed_; }
  // By how much a screened cost of a column is wrong at most, for a point at this square distance from the centre.
  double blur(double square) const;

 private:
  static constexpr int tile = 32;  // columns
  double fine_blur(double threshold) const;
  double turn(const double* x, float* turned, int step) const;

  const bool boxed_;
  const int tiles_;
  std::vector<double> points_, centre_;
  std::vector<double> prices_;          // infinite up to whole tiles
  std::vector<double> squares_;         // |y_j - centre|^2
  std::vector<double> tiled_;           // tile after tile, a coordinate at a time
  std::vector<double> low_, high_;      // the box of each tile, a coordinate at a time
  std::vector<double> least_;           // the lowest price of each tile
  std::vector<float> screen_, levels_;  // in single precision, about the centre; |y_j|^2 + p_j
  double largest_square_ = 0, largest_level_ = 0, largest_price_ = 0;
};

}  // namespace monge
