// The soft minimum of blocks of rows, shared by softmin and the columns that sinkhorn cannot trust.
#pragma once

#include <cmath>
#include <limits>

#include "costs.hpp"

namespace monge {
namespace stream {

// A running sum of 2^s: sum * 2^top.
struct LogSum {
  double top = -std::numeric_limits<double>::infinity(), sum = 0;

  // Adds terms sum_part * 2^top_part and says by what earlier terms are scaled down.
  double add(double top_part, double sum_part) {
    if (top_part <= top) {
      if (sum_part != 0) sum += sum_part * std::exp2(top_part - top);
      return 1;
    }
    const double factor = std::exp2(top - top_part);
    sum = sum * factor + sum_part;
    top = top_part;
    return factor;
  }

  double log2() const { return top + std::log2(sum); }
};

// The shift of a tile's row: its largest score, or zero where there is none.
template <class T>
T shift_of(T top) {
  return top == -std::numeric_limits<T>::infinity() ? T(0) : top;
}

// log2 of the row sums of 2^(bias_j - C_ij / epsilon * log2 e), into out[0 .. count).
template <class T>
void log_sums(const Costs<T>& costs, std::size_t b, const RowBlock<T>& block, const T* bias, T* buffer, LogSum* out) {
  constexpr std::size_t ld = tile_width<T>();
  for (std::size_t r = 0; r < block.count; ++r) out[r] = LogSum();
  for (std::size_t first = 0; first < costs.m_pad; first += ld) {
    const std::size_t width = costs.m_pad - first < ld ? costs.m_pad - first : ld;
    for (std::size_t g = 0; g < block.groups(); ++g) {
      const T* row[kGroup];
      T top[kGroup], shift[kGroup];
      double sums[kGroup];
      costs.tile(b, block, g, first, width, buffer, ld, row);
      tiles<T>().scores(row, block.rows(g), width, bias + first, costs.scale(b), buffer, ld, top);
      for (std::size_t r = 0; r < block.rows(g); ++r) shift[r] = shift_of(top[r]);
      tiles<T>().weights(buffer, ld, block.rows(g), width, shift, sums);
      for (std::size_t r = 0; r < block.rows(g); ++r) out[g * kGroup + r].add(top[r], sums[r]);
    }
  }
}

}  // namespace stream
}  // namespace monge
