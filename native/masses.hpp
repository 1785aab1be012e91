// Weights as integers: flows then add up exactly.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace monge {

struct Masses {
  std::vector<std::int64_t> a, b;
  double unit;            // the mass of 1
  std::int64_t sliver;    // a flow this small is rounding, unless it is all that an atom has

  Masses(const double* weights_a, int n, const double* weights_b, int m) : a(n), b(m), sliver(0) {
    long double total_a = 0, total_b = 0;
    for (int i = 0; i < n; ++i) total_a += weights_a[i];
    for (int j = 0; j < m; ++j) total_b += weights_b[j];
    const auto equal = [](const double* w, int count) {
      return std::all_of(w, w + count, [w](double value) { return value == w[0]; });
    };
    if (equal(weights_a, n) && equal(weights_b, m)) {
      const int divisor = std::gcd(n, m);
      std::fill(a.begin(), a.end(), m / divisor);
      std::fill(b.begin(), b.end(), n / divisor);
      unit = static_cast<double>(total_a / (static_cast<long double>(n) * (m / divisor)));
      return;
    }
    const long double whole = std::ldexp(1.0L, 60);
    const auto round = [whole](const double* w, long double total, std::vector<std::int64_t>& out) {
      for (std::size_t k = 0; k < out.size(); ++k)
        out[k] = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::llroundl(w[k] / total * whole)));
      return std::accumulate(out.begin(), out.end(), std::int64_t{0});
    };
    const std::int64_t sum_a = round(weights_a, total_a, a), sum_b = round(weights_b, total_b, b);
    std::vector<std::int64_t>& short_side = sum_a < sum_b ? a : b;
    *std::max_element(short_side.begin(), short_side.end()) += std::abs(sum_a - sum_b);
    unit = static_cast<double>(total_a / whole);
    sliver = n + m;
  }
};

}  // namespace monge
