// P v for the kernel P_ij = exp(row_i + col_j - C_ij / eps), its row-normalised form, and the sums of the derivative of
// costs under P that gradients need.
#include <algorithm>

#include "common/bindings.hpp"
#include "common/checks.hpp"
#include "common/unlocked.hpp"
#include "softmin.hpp"

namespace nb = nanobind;

namespace monge {
namespace stream {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <class T>
void weigh_rows(const Costs<T>& costs, std::size_t b, const RowBlock<T>& block, std::size_t g, std::size_t first,
                std::size_t width, const T* col, const T* shift, T* c, T* w, std::size_t ld) {
  const T* row[kGroup];
  T top[kGroup];
  double sums[kGroup];
  costs.tile(b, block, g, first, width, c, ld, row);
  tiles<T>().scores(row, block.rows(g), width, col + first, costs.scale(b), w, ld, top);
  tiles<T>().free_weights(w, ld, block.rows(g), width, shift + g * kGroup, sums);
}

// Minus the scaled row vector: what exponents are shifted by.
template <class T>
void row_shifts(const View<const T>& row, std::size_t b, const RowBlock<T>& block, T* shift) {
  for (std::size_t r = 0; r < block.count; ++r) shift[r] = static_cast<T>(-kLog2e * row(b, block.index[r]));
}

template <class T>
void apply(const CostArrays& arrays, const Array& row_array, const Array& col_array, const Array& v_array,
           const Array& out_array, int threads) {
  const View<const T> row(row_array);
  const View<T> out(out_array);
  const Costs<T> costs(arrays, out.batch, threads);
  const Columns<T> col(View<const T>(col_array), kLog2e, costs.m_pad);
  const Values<T> values(View<const T>(v_array), costs.m_pad);
  constexpr std::size_t ld = tile_width<T>();
  for_blocks(out.batch, costs.n, row_work(costs.m, costs.d + values.k), threads,
             [&](std::size_t b, std::size_t begin, std::size_t count) {
               RowBlock<T> block(costs.d);
               const Buffer<T> w(kGroup * ld);
               const Buffer<double> sum(kBlockRows * values.stride);
               T shift[kBlockRows];
               std::fill(sum.data(), sum.data() + kBlockRows * values.stride, 0.0);
               costs.load(b, begin, count, nullptr, block);
               row_shifts(row, b, block, shift);
               for (std::size_t first = 0; first < costs.m_pad; first += ld) {
                 const std::size_t width = std::min(costs.m_pad - first, ld);
                 for (std::size_t g = 0; g < block.groups(); ++g) {
                   weigh_rows(costs, b, block, g, first, width, col.at(b), shift, w.data(), w.data(), ld);
                   values.accumulate(b, w.data(), ld, block.rows(g), first, width,
                                     sum.data() + g * kGroup * values.stride);
                 }
               }
               for (std::size_t r = 0; r < count; ++r) {
                 for (std::size_t c = 0; c < values.k; ++c) {
                   out(b, begin + r, c) = static_cast<T>(sum[r * values.stride + c]);
                 }
               }
             });
}

template <class T>
void attend(const CostArrays& arrays, const Array& col_array, const Array& v_array, const Array& out_array,
            const Array& f_array, int threads) {
  const View<T> out(out_array), f(f_array);
  const Costs<T> costs(arrays, out.batch, threads);
  const Columns<T> col(View<const T>(col_array), kLog2e, costs.m_pad);
  const Values<T> values(View<const T>(v_array), costs.m_pad);
  constexpr std::size_t ld = tile_width<T>();
  for_blocks(
      out.batch, costs.n, row_work(costs.m, costs.d + values.k), threads,
      [&](std::size_t b, std::size_t begin, std::size_t count) {
        const std::size_t stride = values.stride;
        RowBlock<T> block(costs.d);
        const Buffer<T> w(kGroup * ld);
        const Buffer<double> sum(kBlockRows * stride), part(kGroup * stride);
        LogSum total[kBlockRows];
        std::fill(sum.data(), sum.data() + kBlockRows * stride, 0.0);
        costs.load(b, begin, count, nullptr, block);
        for (std::size_t first = 0; first < costs.m_pad; first += ld) {
          const std::size_t width = std::min(costs.m_pad - first, ld);
          for (std::size_t g = 0; g < block.groups(); ++g) {
            const std::size_t rows = block.rows(g);
            const T* row[kGroup];
            T top[kGroup], shift[kGroup];
            double sums[kGroup];
            costs.tile(b, block, g, first, width, w.data(), ld, row);
            tiles<T>().scores(row, rows, width, col.at(b) + first, costs.scale(b), w.data(), ld, top);
            // Exponents are taken from the largest score so far, so that far tiles vanish rather than dominate.
            for (std::size_t r = 0; r < rows; ++r) {
              shift[r] = shift_of(std::max(top[r], static_cast<T>(total[g * kGroup + r].top)));
            }
            tiles<T>().weights(w.data(), ld, rows, width, shift, sums);
            for (std::size_t r = 0; r < rows; ++r) {
              if (top[r] == -kInfinity) continue;
              const double factor = total[g * kGroup + r].add(shift[r], sums[r]);
              if (factor == 1) continue;
              for (std::size_t c = 0; c < stride; ++c) sum[(g * kGroup + r) * stride + c] *= factor;
            }
            values.accumulate(b, w.data(), ld, rows, first, width, sum.data() + g * kGroup * stride);
          }
        }
        for (std::size_t r = 0; r < count; ++r) {
          const double scale = total[r].sum == 0 ? 0 : 1 / total[r].sum;
          for (std::size_t c = 0; c < values.k; ++c) {
            out(b, begin + r, c) = static_cast<T>(sum[r * stride + c] * scale);
          }
          f(b, begin + r) = static_cast<T>(-costs.epsilon(b) * kLn2 * total[r].log2());
        }
      });
}

// sum_j Q_ij dC_ij / dx_i and sum_j Q_ij for Q_ij = P_ij <l_i, r_j>.
template <class T>
void moment(const CostArrays& arrays, const Array& row_array, const Array& col_array, const Array& l_array,
            const Array& r_array, const Array& out_array, const Array& mass_array, int threads) {
  const View<const T> row(row_array), l(l_array);
  const View<T> out(out_array), mass(mass_array);
  const Costs<T> costs(arrays, out.batch, threads, /*exact=*/!arrays.dot && arrays.power != 2);
  const Columns<T> col(View<const T>(col_array), kLog2e, costs.m_pad);
  const Panels<T> r_panels(View<const T>(r_array), costs.m_pad);
  const bool direct = costs.rule(0).rule == Rule::difference;
  // Of linear slopes only the mean of y under the weights is needed: a product instead of a loop over coordinates.
  const Values<T> values(direct ? View<const T>() : costs.y(), costs.m_pad, direct ? nullptr : &costs);
  constexpr std::size_t ld = tile_width<T>();
  const std::size_t k = r_panels.k, d = costs.d, stride = direct ? d : values.stride;
  for_blocks(
      out.batch, costs.n, row_work(costs.m, 2 * d + k), threads,
      [&](std::size_t b, std::size_t begin, std::size_t count) {
        RowBlock<T> block(d);
        const Buffer<T> c(kGroup * ld), w(kGroup * ld), left(kBlockRows * k);
        const Buffer<double> sum(kBlockRows * stride);
        double held[kBlockRows] = {};
        T shift[kBlockRows];
        std::fill(sum.data(), sum.data() + kBlockRows * stride, 0.0);
        costs.load(b, begin, count, nullptr, block);
        row_shifts(row, b, block, shift);
        for (std::size_t r = 0; r < block.groups() * kGroup; ++r) {
          for (std::size_t q = 0; q < k; ++q) {
            left[(r / kGroup * k + q) * kGroup + r % kGroup] = r < count ? l(b, block.index[r], q) : T(0);
          }
        }
        for (std::size_t first = 0; first < costs.m_pad; first += ld) {
          const std::size_t width = std::min(costs.m_pad - first, ld);
          for (std::size_t g = 0; g < block.groups(); ++g) {
            const std::size_t rows = block.rows(g);
            double* to = sum.data() + g * kGroup * stride;
            // Rows that are not there are multiplied too, so they must hold numbers.
            std::fill(w.data() + rows * ld, w.data() + kGroup * ld, T(0));
            weigh_rows(costs, b, block, g, first, width, col.at(b), shift, c.data(), w.data(), ld);
            tiles<T>().bilinear(w.data(), ld, left.data() + g * kGroup * k, r_panels.at(b), k, first, width,
                                held + g * kGroup);
            if (direct) {
              tiles<T>().gradient(costs.rule(b), block.x.data() + g * kGroup * d, c.data(), w.data(), ld, rows, first,
                                  width, to);
            } else {
              values.accumulate(b, w.data(), ld, rows, first, width, to);
            }
          }
        }
        for (std::size_t r = 0; r < count; ++r) {
          const double* from = sum.data() + r * stride;
          mass(b, begin + r) = static_cast<T>(held[r]);
          for (std::size_t q = 0; q < d; ++q) {
            if (direct) {
              out(b, begin + r, q) = static_cast<T>(from[q]);
            } else if (arrays.dot) {
              out(b, begin + r, q) = static_cast<T>(-from[q]);
            } else {
              const double x = static_cast<double>(costs.x()(b, begin + r, q)) - costs.centre(b)[q];
              out(b, begin + r, q) = static_cast<T>(2 * (x * held[r] - from[q]));
            }
          }
        }
      });
}

// out_ij = P_ij <l_i, r_j>, for a stored cost, whose gradient has its size anyway.
template <class T>
void plan(const CostArrays& arrays, const Array& row_array, const Array& col_array, const Array& l_array,
          const Array& r_array, const Array& out_array, int threads) {
  const View<const T> row(row_array), l(l_array), right(r_array);
  const View<T> out(out_array);
  const Costs<T> costs(arrays, out.batch, threads);
  const Columns<T> col(View<const T>(col_array), kLog2e, costs.m_pad);
  const Panels<T> r_panels(right, costs.m_pad);
  constexpr std::size_t ld = tile_width<T>();
  const std::size_t k = r_panels.k;
  for_blocks(out.batch, costs.n, row_work(costs.m, k), threads,
             [&](std::size_t b, std::size_t begin, std::size_t count) {
               RowBlock<T> block(0);
               const Buffer<T> w(kGroup * ld), left(kBlockRows * k);
               T shift[kBlockRows];
               costs.load(b, begin, count, nullptr, block);
               row_shifts(row, b, block, shift);
               for (std::size_t r = 0; r < block.groups() * kGroup; ++r) {
                 for (std::size_t q = 0; q < k; ++q) {
                   left[(r / kGroup * k + q) * kGroup + r % kGroup] = r < count ? l(b, block.index[r], q) : T(0);
                 }
               }
               for (std::size_t first = 0; first < costs.m_pad; first += ld) {
                 const std::size_t width = std::min(costs.m_pad - first, ld), inside = std::min(costs.m - first, ld);
                 for (std::size_t g = 0; g < block.groups(); ++g) {
                   double held[kGroup] = {};
                   std::fill(w.data() + block.rows(g) * ld, w.data() + kGroup * ld, T(0));
                   weigh_rows(costs, b, block, g, first, width, col.at(b), shift, w.data(), w.data(), ld);
                   tiles<T>().bilinear(w.data(), ld, left.data() + g * kGroup * k, r_panels.at(b), k, first, width,
                                       held);
                   for (std::size_t r = 0; r < block.rows(g); ++r) {
                     std::copy(w.data() + r * ld, w.data() + r * ld + inside, &out(b, begin + g * kGroup + r, first));
                   }
                 }
               }
             });
}

template <class Body>
void typed(const Array& first, Body&& body) {
  by_type(first, [&](auto type) {
    const Unlocked unlocked;
    body(type);
  });
}

}  // namespace
}  // namespace stream

void bind_apply(nb::module_& m) {
  using namespace stream;
  using Second = std::optional<Array>;
  m.def(
      "apply",
      [](Array first, Second second, bool dot, double p, double power, Array epsilon, Array row, Array col, Array v,
         Array out, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, out);
        sizes.reads("row", row, sizes.n);
        sizes.reads("col", col, sizes.m);
        sizes.reads("v", v, sizes.m, width_of(v));
        sizes.writes("out", out, sizes.n, width_of(v));
        typed(first, [&](auto type) { apply<decltype(type)>(costs, row, col, v, out, threads); });
      },
      nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), nb::arg(), "out = sum_j exp(row_i + col_j - C_ij / eps) v_j.");
  m.def(
      "attend",
      [](Array first, Second second, bool dot, double p, double power, Array epsilon, Array col, Array v, Array out,
         Array f, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, out);
        sizes.reads("col", col, sizes.m);
        sizes.reads("v", v, sizes.m, width_of(v));
        sizes.writes("out", out, sizes.n, width_of(v));
        sizes.writes("f", f, sizes.n);
        typed(first, [&](auto type) { attend<decltype(type)>(costs, col, v, out, f, threads); });
      },
      nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), nb::arg(), "The same with every row normalised, and the soft minimum of the rows.");
  m.def(
      "moment",
      [](Array first, Second second, bool dot, double p, double power, Array epsilon, Array row, Array col, Array l,
         Array r, Array out, Array mass, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, out);
        sizes.reads("row", row, sizes.n);
        sizes.reads("col", col, sizes.m);
        sizes.reads("l", l, sizes.n, width_of(l));
        sizes.reads("r", r, sizes.m, width_of(l));
        if (!second) refuse("Moments are those of points: the derivative by a stored cost is the plan.");
        sizes.writes("out", out, sizes.n, sizes.d);
        sizes.writes("mass", mass, sizes.n);
        typed(first, [&](auto type) { moment<decltype(type)>(costs, row, col, l, r, out, mass, threads); });
      },
      nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), nb::arg(), nb::arg(), "Sums over j of Q_ij dC_ij / dx_i and of Q_ij = P_ij <l_i, r_j>, for point clouds.");
  m.def(
      "plan",
      [](Array first, Second second, bool dot, double p, double power, Array epsilon, Array row, Array col, Array l,
         Array r, Array out, int threads) {
        const CostArrays costs{first, second, dot, p, power, epsilon};
        const Sizes sizes(costs, out);
        sizes.reads("row", row, sizes.n);
        sizes.reads("col", col, sizes.m);
        sizes.reads("l", l, sizes.n, width_of(l));
        sizes.reads("r", r, sizes.m, width_of(l));
        if (second) refuse("A plan is written out for a stored cost only: of points, ask for moments.");
        sizes.writes("out", out, sizes.n, sizes.m);
        typed(first, [&](auto type) { plan<decltype(type)>(costs, row, col, l, r, out, threads); });
      },
      nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
      nb::arg(), nb::arg(), nb::arg(), "out_ij = P_ij <l_i, r_j>, for a stored cost.");
}

}  // namespace monge
