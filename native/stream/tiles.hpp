// The vectorised work on one tile of the cost matrix: eight rows by a few hundred columns that stay in the first-level
// cache. Every instruction set fills one table of these functions; drivers call them through it, a few times a tile.
#pragma once

#include <cstddef>
#include <cstdint>

namespace monge {
namespace stream {

constexpr std::size_t kGroup = 8;           // rows of a tile
constexpr std::size_t kTileBytes = 1 << 14;  // all rows of a tile of one array

template <class T>
constexpr std::size_t tile_width() {
  return kTileBytes / (kGroup * sizeof(T));
}

enum class Rule { matrix, dot, square, difference };

// The point-cloud costs of one problem. Columns are packed in panels: panels[(j / panel) * d * panel + k * panel + j %
// panel], where `panel` is Tiles::panel, padded with zeros.
template <class T>
struct CostRule {
  Rule rule;
  std::size_t d;
  double p, power;
  const T* panels;
  const T* column_squares;  // |y_j|^2, for Rule::square
};

template <class T>
struct Tiles {
  std::size_t panel;  // every width and first column below is a multiple of it
  std::size_t lanes;

  // out[r * ld + j] = C(x_r, y_{first + j}); x is packed as x[k * kGroup + r].
  void (*cost)(const CostRule<T>& rule, const T* x, const T* row_squares, std::size_t first, std::size_t width, T* out,
               std::size_t ld);

  // s = bias_j - c_rj * scale, and the largest of each row.
  void (*scores)(const T* const* c, std::size_t rows, std::size_t width, const T* bias, T scale, T* s, std::size_t ld,
                 T* top);

  // The places where s exceeds a limit, in order; how many there are.
  std::size_t (*select)(const T* s, std::size_t width, T limit, std::uint32_t* found);

  // s <- 2^(s - shift_r) and the sum of each row; `weights` needs s <= shift, `free_weights` may overflow to infinity.
  void (*weights)(T* s, std::size_t ld, std::size_t rows, std::size_t width, const T* shift, double* sums);
  void (*free_weights)(T* s, std::size_t ld, std::size_t rows, std::size_t width, const T* shift, double* sums);

  // sums_j += sum_r factor_r w_rj.
  void (*columns)(const T* w, std::size_t ld, std::size_t rows, std::size_t width, const T* factor, double* sums);

  // out[r * k_pad + c] += sum_j w_rj v_jc, for values packed by rows, v[j * k_pad + c], k_pad a multiple of lanes.
  void (*product)(const T* w, std::size_t ld, std::size_t rows, std::size_t width, const T* v, std::size_t k_pad,
                  double* out);
  // The same for few values packed by columns, v[c * v_ld + j]; out[r * k + c].
  void (*thin_product)(const T* w, std::size_t ld, std::size_t rows, std::size_t width, const T* v, std::size_t v_ld,
                       std::size_t k, double* out);

  // w_rj *= <l_r, r_j> for all kGroup rows, l packed like x, r in panels, of dimension k; sums_r += sum_j w_rj.
  void (*bilinear)(T* w, std::size_t ld, const T* l, const T* panels, std::size_t k, std::size_t first,
                   std::size_t width, double* sums);

  // out[r * d + k] += sum_j q_rj dC_rj / dx_rk, for Rule::difference; c holds the costs; q has kGroup rows of
  // numbers and is overwritten.
  void (*gradient)(const CostRule<T>& rule, const T* x, const T* c, T* q, std::size_t ld, std::size_t rows,
                   std::size_t first, std::size_t width, double* out);
};

template <class T>
const Tiles<T>& tiles();  // for the processor this runs on

// Allows no instruction set above a level (0 baseline, 1 AVX2, 2 AVX-512), for tests; names the one in use.
const char* limit_instructions(int level);

int instructions();  // the level in use

}  // namespace stream
}  // namespace monge
