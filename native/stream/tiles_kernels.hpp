// The bodies of `Tiles`, compiled once for each instruction set. See simd.hpp for the rules of this file.
#include "simd.hpp"
#include "tiles.hpp"

namespace monge {
namespace stream {
namespace MONGE_ISA {

enum class Mode { product, square, city, chebyshev, general };

template <class T>
MONGE_INLINE T scalar_power(T base, T exponent);
template <>
MONGE_INLINE float scalar_power(float base, float exponent) {
  return __builtin_powf(base, exponent);
}
template <>
MONGE_INLINE double scalar_power(double base, double exponent) {
  return __builtin_pow(base, exponent);
}
MONGE_INLINE float scalar_root(float base) { return __builtin_sqrtf(base); }
MONGE_INLINE double scalar_root(double base) { return __builtin_sqrt(base); }

template <class T>
MONGE_INLINE typename Simd<T>::V vector_power(typename Simd<T>::V base, T exponent) {
  typename Simd<T>::V out;
  for (int l = 0; l < Simd<T>::lanes; ++l) out[l] = scalar_power<T>(base[l], exponent);
  return out;
}

// base^exponent over a row in place, for base >= 0.
template <class T>
void raise(T* base, std::size_t width, double exponent) {
  if (exponent == 1) return;
  if (exponent == 0.5) {
    for (std::size_t j = 0; j < width; ++j) base[j] = scalar_root(base[j]);
  } else if (exponent == 2) {
    for (std::size_t j = 0; j < width; ++j) base[j] *= base[j];
  } else if (exponent == 1.5) {
    for (std::size_t j = 0; j < width; ++j) base[j] *= scalar_root(base[j]);
  } else {
    const T e = static_cast<T>(exponent);
    for (std::size_t j = 0; j < width; ++j) base[j] = scalar_power<T>(base[j], e);
  }
}

// The accumulators of Rows x (two vectors) entries over all coordinates: the one inner product everything rests on.
template <class T, Mode mode, int Rows>
MONGE_INLINE void accumulate(const T* x, const T* panel, std::size_t d, T p, typename Simd<T>::V (&sum)[Rows][2]) {
  typedef typename Simd<T>::V V;
  constexpr int W = Simd<T>::lanes;
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) sum[r][0] = sum[r][1] = V{};
  for (std::size_t k = 0; k < d; ++k) {
    const V y0 = load<T>(panel + k * 2 * W), y1 = load<T>(panel + k * 2 * W + W);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const V xr = broadcast<T>(x[k * kGroup + r]);
      if (mode == Mode::product) {
        sum[r][0] += xr * y0;
        sum[r][1] += xr * y1;
        continue;
      }
      const V t0 = xr - y0, t1 = xr - y1;
      if (mode == Mode::square) {
        sum[r][0] += t0 * t0;
        sum[r][1] += t1 * t1;
      } else if (mode == Mode::city) {
        sum[r][0] += absolute<T>(t0);
        sum[r][1] += absolute<T>(t1);
      } else if (mode == Mode::chebyshev) {
        sum[r][0] = larger(sum[r][0], absolute<T>(t0));
        sum[r][1] = larger(sum[r][1], absolute<T>(t1));
      } else {
        sum[r][0] += vector_power<T>(absolute<T>(t0), p);
        sum[r][1] += vector_power<T>(absolute<T>(t1), p);
      }
    }
  }
}

// As many rows at once as the registers of the instruction set hold.
constexpr int kRows = MONGE_VECTOR_BYTES == 64 ? 8 : 4;

template <class T, Mode mode, class Finish>
MONGE_INLINE void over_panels(const T* x, const T* panels, std::size_t d, T p, std::size_t first, std::size_t width,
                              Finish finish) {
  typedef typename Simd<T>::V V;
  constexpr std::size_t panel = 2 * Simd<T>::lanes;
  for (std::size_t j = 0; j < width; j += panel) {
    const T* packed = panels + (first + j) * d;
    for (int r0 = 0; r0 < static_cast<int>(kGroup); r0 += kRows) {
      V sum[kRows][2];
      accumulate<T, mode, kRows>(x + r0, packed, d, p, sum);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) finish(r0 + r, j, sum[r][0], sum[r][1]);
    }
  }
}

template <class T, Mode mode>
void cost_in(const CostRule<T>& rule, const T* x, std::size_t first, std::size_t width, T* out, std::size_t ld,
             double exponent) {
  constexpr int W = Simd<T>::lanes;
  over_panels<T, mode>(x, rule.panels, rule.d, static_cast<T>(rule.p), first, width,
                       [=](int r, std::size_t j, typename Simd<T>::V s0, typename Simd<T>::V s1) MONGE_LAMBDA {
                         store<T>(out + r * ld + j, s0);
                         store<T>(out + r * ld + j + W, s1);
                       });
  if (exponent != 1) {
    for (std::size_t r = 0; r < kGroup; ++r) raise(out + r * ld, width, exponent);
  }
}

template <class T>
void cost(const CostRule<T>& rule, const T* x, const T* row_squares, std::size_t first, std::size_t width, T* out,
          std::size_t ld) {
  typedef typename Simd<T>::V V;
  constexpr int W = Simd<T>::lanes;
  if (rule.rule == Rule::dot) {
    over_panels<T, Mode::product>(x, rule.panels, rule.d, T(0), first, width,
                                  [=](int r, std::size_t j, V s0, V s1) MONGE_LAMBDA {
                                    store<T>(out + r * ld + j, -s0);
                                    store<T>(out + r * ld + j + W, -s1);
                                  });
  } else if (rule.rule == Rule::square) {
    const T* squares = rule.column_squares + first;
    over_panels<T, Mode::product>(
        x, rule.panels, rule.d, T(0), first, width, [=](int r, std::size_t j, V s0, V s1) MONGE_LAMBDA {
          const V xx = broadcast<T>(row_squares[r]);
          store<T>(out + r * ld + j, larger(load<T>(squares + j) + xx - (s0 + s0), V{}));
          store<T>(out + r * ld + j + W, larger(load<T>(squares + j + W) + xx - (s1 + s1), V{}));
        });
    if (rule.power != 2) {
      for (std::size_t r = 0; r < kGroup; ++r) raise(out + r * ld, width, rule.power / 2);
    }
  } else if (rule.p == 2) {
    cost_in<T, Mode::square>(rule, x, first, width, out, ld, rule.power / 2);
  } else if (rule.p == 1) {
    cost_in<T, Mode::city>(rule, x, first, width, out, ld, rule.power);
  } else if (rule.p == __builtin_inf()) {
    cost_in<T, Mode::chebyshev>(rule, x, first, width, out, ld, rule.power);
  } else {
    cost_in<T, Mode::general>(rule, x, first, width, out, ld, rule.power / rule.p);
  }
}

template <class T>
void scores(const T* const* c, std::size_t rows, std::size_t width, const T* bias, T scale, T* s, std::size_t ld,
            T* top) {
  typedef typename Simd<T>::V V;
  constexpr std::size_t W = Simd<T>::lanes;
  const V factor = broadcast<T>(scale);
  for (std::size_t r = 0; r < rows; ++r) {
    const T* from = c[r];
    T* to = s + r * ld;
    V top0 = broadcast<T>(static_cast<T>(-__builtin_inf())), top1 = top0;
    for (std::size_t j = 0; j < width; j += 2 * W) {
      const V s0 = load<T>(bias + j) - load<T>(from + j) * factor;
      const V s1 = load<T>(bias + j + W) - load<T>(from + j + W) * factor;
      store<T>(to + j, s0);
      store<T>(to + j + W, s1);
      top0 = larger(s0, top0);
      top1 = larger(s1, top1);
    }
    top[r] = largest<T>(larger(top0, top1));
  }
}

template <class T>
std::size_t select(const T* s, std::size_t width, T limit, std::uint32_t* found) {
  constexpr std::size_t W = Simd<T>::lanes;
  const typename Simd<T>::V least = broadcast<T>(limit);
  std::size_t count = 0;
  for (std::size_t j = 0; j < width; j += W) {
    for (unsigned bits = lanes_above(load<T>(s + j), least); bits; bits &= bits - 1) {
      found[count++] = static_cast<std::uint32_t>(j + static_cast<unsigned>(__builtin_ctz(bits)));
    }
  }
  return count;
}

template <class T, bool Free>
void weights(T* s, std::size_t ld, std::size_t rows, std::size_t width, const T* shift, double* sums) {
  typedef typename Simd<T>::V V;
  constexpr std::size_t W = Simd<T>::lanes;
  for (std::size_t r = 0; r < rows; ++r) {
    T* row = s + r * ld;
    const V from = broadcast<T>(shift[r]);
    V sum0{}, sum1{};
    for (std::size_t j = 0; j < width; j += 2 * W) {
      const V w0 = power_of_two<T, Free>(load<T>(row + j) - from);
      const V w1 = power_of_two<T, Free>(load<T>(row + j + W) - from);
      store<T>(row + j, w0);
      store<T>(row + j + W, w1);
      sum0 += w0;
      sum1 += w1;
    }
    sums[r] = static_cast<double>(total<T>(sum0 + sum1));
  }
}

template <class T>
void columns(const T* w, std::size_t ld, std::size_t rows, std::size_t width, const T* factor, double* sums) {
  typedef typename Simd<T>::V V;
  constexpr std::size_t W = Simd<T>::lanes;
  for (std::size_t j = 0; j < width; j += 2 * W) {
    V sum0{}, sum1{};
    for (std::size_t r = 0; r < rows; ++r) {
      sum0 += load<T>(w + r * ld + j) * factor[r];
      sum1 += load<T>(w + r * ld + j + W) * factor[r];
    }
    add_to(sums + j, sum0);
    add_to(sums + j + W, sum1);
  }
}

template <class T, int Rows, int Vectors>
MONGE_INLINE void product_block(const T* w, std::size_t ld, std::size_t width, const T* v, std::size_t k_pad,
                                double* out) {
  typedef typename Simd<T>::V V;
  constexpr int W = Simd<T>::lanes;
  V sum[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 2
    for (int q = 0; q < Vectors; ++q) sum[r][q] = V{};
  }
  for (std::size_t j = 0; j < width; ++j) {
    V value[Vectors];
#pragma GCC unroll 2
    for (int q = 0; q < Vectors; ++q) value[q] = load<T>(v + j * k_pad + q * W);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const V weight = broadcast<T>(w[r * ld + j]);
#pragma GCC unroll 2
      for (int q = 0; q < Vectors; ++q) sum[r][q] += weight * value[q];
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int q = 0; q < Vectors; ++q) {
      add_to(out + r * k_pad + q * W, sum[r][q]);
    }
  }
}

template <class T, int Rows>
void product_rows(const T* w, std::size_t ld, std::size_t width, const T* v, std::size_t k_pad, double* out) {
  constexpr std::size_t W = Simd<T>::lanes;
  std::size_t c = 0;
  for (; c + 2 * W <= k_pad; c += 2 * W) product_block<T, Rows, 2>(w, ld, width, v + c, k_pad, out + c);
  for (; c < k_pad; c += W) product_block<T, Rows, 1>(w, ld, width, v + c, k_pad, out + c);
}

template <class T>
void product(const T* w, std::size_t ld, std::size_t rows, std::size_t width, const T* v, std::size_t k_pad,
             double* out) {
  std::size_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    product_rows<T, kRows>(w + r * ld, ld, width, v, k_pad, out + r * k_pad);
  }
  for (; r < rows; ++r) product_rows<T, 1>(w + r * ld, ld, width, v, k_pad, out + r * k_pad);
}

template <class T, int Rows, int Values>
MONGE_INLINE void thin_block(const T* w, std::size_t ld, std::size_t width, const T* v, std::size_t v_ld,
                             std::size_t k, double* out) {
  typedef typename Simd<T>::V V;
  constexpr std::size_t W = Simd<T>::lanes;
  V sum[Rows][Values];
#pragma GCC unroll 4
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < Values; ++c) sum[r][c] = V{};
  }
  for (std::size_t j = 0; j < width; j += W) {
    V weight[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) weight[r] = load<T>(w + r * ld + j);
#pragma GCC unroll 4
    for (int c = 0; c < Values; ++c) {
      const V value = load<T>(v + c * v_ld + j);
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) sum[r][c] += weight[r] * value;
    }
  }
  for (int r = 0; r < Rows; ++r) {
    for (int c = 0; c < Values; ++c) out[r * k + c] += static_cast<double>(total<T>(sum[r][c]));
  }
}

template <class T, int Rows>
void thin_rows(const T* w, std::size_t ld, std::size_t width, const T* v, std::size_t v_ld, std::size_t k,
               double* out) {
  std::size_t c = 0;
  for (; c + 2 <= k; c += 2) thin_block<T, Rows, 2>(w, ld, width, v + c * v_ld, v_ld, k, out + c);
  if (c < k) thin_block<T, Rows, 1>(w, ld, width, v + c * v_ld, v_ld, k, out + c);
}

template <class T>
void thin_product(const T* w, std::size_t ld, std::size_t rows, std::size_t width, const T* v, std::size_t v_ld,
                  std::size_t k, double* out) {
  std::size_t r = 0;
  for (; r + 4 <= rows; r += 4) thin_rows<T, 4>(w + r * ld, ld, width, v, v_ld, k, out + r * k);
  for (; r < rows; ++r) thin_rows<T, 1>(w + r * ld, ld, width, v, v_ld, k, out + r * k);
}

template <class T>
void bilinear(T* w, std::size_t ld, const T* l, const T* panels, std::size_t k, std::size_t first, std::size_t width,
              double* sums) {
  typedef typename Simd<T>::V V;
  constexpr int W = Simd<T>::lanes;
  V sum[kGroup];
  for (std::size_t r = 0; r < kGroup; ++r) sum[r] = V{};
  V* at = sum;
  over_panels<T, Mode::product>(l, panels, k, T(0), first, width, [=](int r, std::size_t j, V s0, V s1) MONGE_LAMBDA {
    T* to = w + r * ld + j;
    const V w0 = load<T>(to) * s0, w1 = load<T>(to + W) * s1;
    store<T>(to, w0);
    store<T>(to + W, w1);
    at[r] += w0 + w1;
  });
  for (std::size_t r = 0; r < kGroup; ++r) sums[r] += static_cast<double>(total<T>(sum[r]));
}

// The derivative of the cost by one coordinate, but for the factor of the entry.
template <class T, Mode mode>
MONGE_INLINE typename Simd<T>::V slope(typename Simd<T>::V t, typename Simd<T>::V reach, T p) {
  typedef typename Simd<T>::V V;
  if (mode == Mode::square) return t;
  const V sign = t > V{} ? broadcast<T>(T(1)) : (t < V{} ? broadcast<T>(T(-1)) : V{});
  if (mode == Mode::city) return sign;
  if (mode == Mode::chebyshev) return absolute<T>(t) == reach ? sign : V{};
  return t == V{} ? V{} : sign * vector_power<T>(absolute<T>(t), p - T(1));
}

// q becomes q times the factor that all coordinates of an entry share; zero where the points coincide.
template <class T>
void entry_factor(const T* c, T* q, std::size_t width, double power, double exponent) {
  const T scale = static_cast<T>(power), e = static_cast<T>(exponent);
  if (exponent == 0) {
    for (std::size_t j = 0; j < width; ++j) q[j] = c[j] > 0 ? q[j] * scale : T(0);
  } else if (exponent == -1) {
    for (std::size_t j = 0; j < width; ++j) q[j] = c[j] > 0 ? q[j] * scale / c[j] : T(0);
  } else {
    for (std::size_t j = 0; j < width; ++j) q[j] = c[j] > 0 ? q[j] * scale * scalar_power<T>(c[j], e) : T(0);
  }
}

// Where several coordinates reach the maximum they share its slope. The maximum is found again from the points, so that
// the comparison is exact.
template <class T>
void gradient_chebyshev(const CostRule<T>& rule, const T* x, T* q, std::size_t rows, std::size_t ld, std::size_t first,
                        std::size_t width, double* out) {
  typedef typename Simd<T>::V V;
  constexpr std::size_t W = Simd<T>::lanes, panel = 2 * W;
  const std::size_t d = rule.d;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t j = 0; j < width; j += W) {
      const T* packed = rule.panels + (first + j) / panel * panel * d + (first + j) % panel;
      V reach{}, ties{};
      for (std::size_t k = 0; k < d; ++k) {
        reach = larger(reach, absolute<T>(x[k * kGroup + r] - load<T>(packed + k * panel)));
      }
      for (std::size_t k = 0; k < d; ++k) {
        const V t = absolute<T>(x[k * kGroup + r] - load<T>(packed + k * panel));
        ties += t == reach ? broadcast<T>(T(1)) : V{};
      }
      const V shared = load<T>(q + r * ld + j) / ties;
      for (std::size_t k = 0; k < d; ++k) {
        const V t = x[k * kGroup + r] - load<T>(packed + k * panel);
        out[r * d + k] += static_cast<double>(total<T>(shared * slope<T, Mode::chebyshev>(t, reach, T(1))));
      }
    }
  }
}

template <class T, Mode mode>
void gradient_in(const CostRule<T>& rule, const T* x, const T* c, T* q, std::size_t ld, std::size_t rows,
                 std::size_t first, std::size_t width, double* out) {
  typedef typename Simd<T>::V V;
  constexpr std::size_t W = Simd<T>::lanes, panel = 2 * W;
  const std::size_t d = rule.d;
  const T p = static_cast<T>(rule.p);
  // Of a plain square the slope is linear and vanishes by itself where points coincide.
  const bool plain = mode == Mode::square && rule.power == 2;
  const double inner = mode == Mode::chebyshev ? 1 : rule.p;
  for (std::size_t r = 0; r < rows && !plain; ++r) {
    entry_factor(c + r * ld, q + r * ld, width, rule.power, 1 - inner / rule.power);
  }
  if (mode == Mode::chebyshev) {
    gradient_chebyshev(rule, x, q, rows, ld, first, width, out);
    return;
  }
  const double scale = plain ? 2 : 1;
  for (std::size_t r0 = 0; r0 < rows; r0 += 4) {
    for (std::size_t k = 0; k < d; ++k) {
      V sum[4] = {V{}, V{}, V{}, V{}};
      for (std::size_t j = 0; j < width; j += W) {
        const V y = load<T>(rule.panels + ((first + j) / panel * d + k) * panel + (first + j) % panel);
#pragma GCC unroll 4
        for (std::size_t r = 0; r < 4; ++r) {
          const V t = broadcast<T>(x[k * kGroup + r0 + r]) - y;
          sum[r] += load<T>(q + (r0 + r) * ld + j) * slope<T, mode>(t, V{}, p);
        }
      }
      for (std::size_t r = r0; r < rows && r < r0 + 4; ++r) {
        out[r * d + k] += scale * static_cast<double>(total<T>(sum[r - r0]));
      }
    }
  }
}

template <class T>
void gradient(const CostRule<T>& rule, const T* x, const T* c, T* q, std::size_t ld, std::size_t rows,
              std::size_t first, std::size_t width, double* out) {
  if (rule.p == 2) {
    gradient_in<T, Mode::square>(rule, x, c, q, ld, rows, first, width, out);
  } else if (rule.p == 1) {
    gradient_in<T, Mode::city>(rule, x, c, q, ld, rows, first, width, out);
  } else if (rule.p == __builtin_inf()) {
    gradient_in<T, Mode::chebyshev>(rule, x, c, q, ld, rows, first, width, out);
  } else {
    gradient_in<T, Mode::general>(rule, x, c, q, ld, rows, first, width, out);
  }
}

// Constant-initialised: no code of this instruction set may run before the processor has been asked.
template <class T>
constexpr Tiles<T> table = {2 * Simd<T>::lanes, Simd<T>::lanes, cost<T>,    scores<T>, select<T>, weights<T, false>,
                            weights<T, true>,   columns<T>,     product<T>, thin_product<T>, bilinear<T>,
                            gradient<T>};

extern constexpr Tiles<float> float_tiles = table<float>;
extern constexpr Tiles<double> double_tiles = table<double>;

}  // namespace MONGE_ISA
}  // namespace stream
}  // namespace monge
