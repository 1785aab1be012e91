#include "columns.hpp"

#include <algorithm>
#include <cmath>

#include "searches.hpp"

namespace monge {
namespace {

constexpr double unit_single = 0x1p-24, unit_double = 0x1p-53;

}  // namespace

Columns::Columns(const double* y, const double* prices, const double* centre, int m, int d)
    : m(m), d(d), boxed_(d <= 3), tiles_((m + 255) / 256 * 8), points_(y, y + static_cast<std::size_t>(m) * d),
      centre_(centre, centre + d), prices_(static_cast<std::size_t>(tiles_) * tile, infinity), squares_(m),
      tiled_(static_cast<std::size_t>(tiles_) * tile * d) {
  std::copy_n(prices, m, prices_.begin());
  const auto place = [&](int j, int k) {
    return static_cast<std::size_t>(j / tile) * tile * d + static_cast<std::size_t>(k) * tile + j % tile;
  };
  for (int j = 0; j < m; ++j) {
    largest_price_ = std::max(largest_price_, std::abs(prices[j]));
    for (int k = 0; k < d; ++k) tiled_[place(j, k)] = y[static_cast<std::size_t>(j) * d + k];
  }
  if (boxed_) {
    low_.assign(static_cast<std::size_t>(tiles_) * d, infinity);
    high_.assign(static_cast<std::size_t>(tiles_) * d, -infinity);
    least_.assign(tiles_, infinity);
    for (int j = 0; j < m; ++j) {
      const int t = j / tile;
      least_[t] = std::min(least_[t], prices[j]);
      for (int k = 0; k < d; ++k) {
        const std::size_t side = static_cast<std::size_t>(k) * tiles_ + t;
        low_[side] = std::min(low_[side], tiled_[place(j, k)]);
        high_[side] = std::max(high_[side], tiled_[place(j, k)]);
      }
    }
    return;
  }
  screen_.assign(tiled_.size(), 0);
  levels_.assign(prices_.size(), static_cast<float>(infinity));
  for (int j = 0; j < m; ++j) {
    for (int k = 0; k < d; ++k) {
      const double apart = tiled_[place(j, k)] - centre[k];
      squares_[j] += apart * apart;
      screen_[place(j, k)] = static_cast<float>(apart);
    }
    largest_square_ = std::max(largest_square_, squares_[j]);
    largest_level_ = std::max(largest_level_, std::abs(squares_[j] + prices[j]));
    levels_[j] = static_cast<float>(squares_[j] + prices[j]);
  }
}

double Columns::cost(const double* x, int j) const {
  const double* y = points_.data() + static_cast<std::size_t>(j) * d;
  double sum = 0;
  for (int k = 0; k < d; ++k) sum += (x[k] - y[k]) * (x[k] - y[k]);
  return sum;
}

void Columns::raise(int j, double price) {
  const double before = prices_[j];
  prices_[j] = price;
  largest_price_ = std::max(largest_price_, std::abs(price));
  if (boxed_) {
    const int t = j / tile;
    if (before <= least_[t]) {
      const double* first = prices_.data() + static_cast<std::size_t>(t) * tile;
      least_[t] = *std::min_element(first, first + tile);
    }
  } else {
    const double level = squares_[j] + price;
    largest_level_ = std::max(largest_level_, std::abs(level));
    levels_[j] = static_cast<float>(level);
  }
}

// Differences, squares, their sum and the price: each rounds by at most a unit of what it holds, and the squares sum to
// what a column costs less its price.
double Columns::fine_blur(double threshold) const {
  return 2 * (d + 6) * unit_double * (std::abs(threshold) + 2 * largest_price_);
}

// A sum of d + 1 terms in single precision: each takes part in at most d roundings, beside its own and those of its two
// factors. The second part is for what was computed in double precision before, about the centre; numbers below the
// smallest normal one are lost.
double Columns::blur(double square) const {
  const double size = largest_level_ + 2 * std::sqrt(square) * std::sqrt(largest_square_);
  return (d + 5) * unit_single * size * (1 + 1e-4) +
         8 * (d + 6) * unit_double * (size + square + largest_square_ + largest_price_) + (d + 5) * 0x1p-120;
}

// Writes -2 (x - centre) in single precision; the answer is |x - centre|^2.
double Columns::turn(const double* x, float* turned, int step) const {
  double square = 0;
  for (int k = 0; k < d; ++k) {
    const double apart = x[k] - centre_[k];
    square += apart * apart;
    turned[k * step] = static_cast<float>(-2 * apart);
  }
  return square;
}

double Columns::search(const double* x, double threshold, bool precise, int* found, int* count) const {
  if (boxed_ || precise) {
    *count = searches().differences(x, tiled_.data(), prices_.data(), boxed_ ? low_.data() : nullptr, high_.data(),
                                    least_.data(), tiles_, d, threshold, found);
    return threshold - fine_blur(threshold);
  }
  std::vector<float> turned(d);
  const double square = turn(x, turned.data(), 1);
  const float level = static_cast<float>(threshold - square);
  *count = searches().screen(turned.data(), screen_.data(), levels_.data(), tiles_, d, level, found);
  return static_cast<double>(level) + square - blur(square);
}

void Columns::search_four(const double* const* x, const double* threshold, int* found, int* count,
                          double* bound) const {
  if (boxed_) {
    for (int r = 0; r < 4; ++r) bound[r] = search(x[r], threshold[r], false, found + r * room(), count + r);
    return;
  }
  std::vector<float> turned(4 * static_cast<std::size_t>(d));
  float level[4];
  for (int r = 0; r < 4; ++r) {
    const double square = turn(x[r], turned.data() + r, 4);
    level[r] = static_cast<float>(threshold[r] - square);
    bound[r] = static_cast<double>(level[r]) + square - blur(square);
    count[r] = 0;
  }
  searches().screen_four(turned.data(), screen_.data(), levels_.data(), tiles_, d, level, found, room(), count);
}

}  // namespace monge
