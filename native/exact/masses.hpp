// Weights as integers: flows then add up exactly.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace monge {

// Weights are known to a relative error, the rounding of the numbers they were given in. Where fractions of a small
// common denominator lie within it they are what is meant: 1/30 and 19/30, counts over their sum. Then what should
// cancel cancels, and what should fit fits. Other weights are rounded to a grid of 2^-60 of the mass, and sums of them
// are blurred by `slack`.
struct Masses {
  std::vector<std::int64_t> a, b;
  double unit;             // the mass of 1
  std::int64_t slack = 0;  // a flow this small may be nothing but rounding

  // Whether every point of both sides has the same mass.
  bool equal() const {
    const auto all = [this](const std::vector<std::int64_t>& side) {
      return std::all_of(side.begin(), side.end(), [this](std::int64_t mass) { return mass == a[0]; });
    };
    return all(a) && all(b);
  }

  Masses(const double* weights_a, int n, const double* weights_b, int m, double rounding, bool turned)
      : a(n), b(m) {
    const Side left(weights_a, n), right(weights_b, m);
    const long double total = turned ? right.total : left.total;
    if (left.equal() && right.equal()) {
      const int divisor = std::gcd(n, m);
      std::fill(a.begin(), a.end(), m / divisor);
      std::fill(b.begin(), b.end(), n / divisor);
      unit = static_cast<double>(total / (static_cast<long double>(n) * (m / divisor)));
      return;
    }
    if (as_fractions(left, right, rounding, total)) return;
    const long double whole = std::ldexp(1.0L, 60);
    const auto round = [whole](const Side& side, std::vector<std::int64_t>& out) {
      for (std::size_t k = 0; k < out.size(); ++k)
        out[k] = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::llroundl(side.share(k) * whole)));
      return std::accumulate(out.begin(), out.end(), std::int64_t{0});
    };
    const std::int64_t sum_a = round(left, a), sum_b = round(right, b);
    std::vector<std::int64_t>& short_side = sum_a < sum_b ? a : b;
    *std::max_element(short_side.begin(), short_side.end()) += std::abs(sum_a - sum_b);
    unit = static_cast<double>(total / whole);
    slack = n + m + static_cast<std::int64_t>(4 * rounding * whole);
  }

 private:
  struct Side {
    const double* weights;
    const std::size_t count;
    long double total = 0;

    Side(const double* weights, int count) : weights(weights), count(count) {
      for (int k = 0; k < count; ++k) total += weights[k];
    }
    long double share(std::size_t k) const { return weights[k] / total; }
    bool equal() const {
      return std::all_of(weights, weights + count, [this](double value) { return value == weights[0]; });
    }
  };

  bool as_fractions(const Side& left, const Side& right, double rounding, long double total) {
    // Beyond this denominator every number would be a fraction.
    const auto largest = static_cast<std::int64_t>(std::min(1 / (16 * rounding), std::ldexp(1.0, 44)));
    const std::int64_t p = denominator(left, rounding, largest, a), q = denominator(right, rounding, largest, b);
    if (p == 0 || q == 0) return false;
    const std::int64_t divisor = std::gcd(p, q);
    if (p / divisor > (std::int64_t{1} << 60) / q) return false;
    for (std::int64_t& mass : a) mass *= q / divisor;
    for (std::int64_t& mass : b) mass *= p / divisor;
    unit = static_cast<double>(total / (static_cast<long double>(p) * (q / divisor)));
    return true;
  }

  // The smallest common denominator of the shares of one side, zero if there is none; fills the numerators. The last
  // share is what the others leave: as the difference of sums that it may be, it is known to less than they are.
  static std::int64_t denominator(const Side& side, double rounding, std::int64_t largest,
                                  std::vector<std::int64_t>& numerator) {
    const long double error = 2 * rounding;
    const std::size_t last = side.count - 1;
    std::int64_t whole = 1;
    for (std::size_t k = 0; k < last; ++k) {
      const long double rest = side.share(k) * whole;
      const std::int64_t factor = simplest(rest, error * rest, largest / whole);
      if (factor == 0) return 0;
      whole *= factor;
    }
    std::int64_t sum = 0;
    for (std::size_t k = 0; k < last; ++k) {
      const long double exact = side.share(k) * whole;
      numerator[k] = std::llroundl(exact);
      if (numerator[k] < 1 || std::abs(numerator[k] - exact) > error * exact) return 0;
      sum += numerator[k];
    }
    numerator[last] = whole - sum;
    const bool fits = numerator[last] > 0 && std::abs(numerator[last] - side.share(last) * whole) <= error * whole;
    return fits ? whole : 0;
  }

  // The smallest denominator up to `largest` of a fraction within `error` of x, by its continued fraction; or zero.
  static std::int64_t simplest(long double x, long double error, std::int64_t largest) {
    std::int64_t before = 0, here = 1;
    for (long double part = x;;) {
      if (here > largest) return 0;
      if (std::abs(here * x - std::roundl(here * x)) <= here * error && std::roundl(here * x) >= 1) return here;
      const long double fraction = part - std::floor(part);
      if (fraction <= 0) return 0;
      part = 1 / fraction;
      if (std::floor(part) * here > largest) return 0;
      const std::int64_t next = static_cast<std::int64_t>(part) * here + before;
      before = here;
      here = next;
    }
  }
};

}  // namespace monge
