// The bodies of `DoublyStochastic`, compiled once for each instruction set. See stream/simd.hpp for the rules of this
// file.
#include "doubly_stochastic.hpp"
#include "stream/simd.hpp"

namespace monge {
namespace stream {
namespace MONGE_ISA {
namespace {

// 1 / a, to the last digit but one. A division takes as long as sixteen products.
MONGE_INLINE Simd<double>::V reciprocal(Simd<double>::V a) {
#if defined(__AVX512F__)
  typedef Simd<double>::V V;
  V r = (V)_mm512_rcp14_pd((__m512d)a);
  r = r + r * (1.0 - a * r);
  return r + r * (1.0 - a * r);
#else
  return 1.0 / a;
#endif
}

MONGE_INLINE Simd<float>::V reciprocal(Simd<float>::V a) {
#if defined(__AVX512F__)
  typedef Simd<float>::V V;
  const V r = (V)_mm512_rcp14_ps((__m512)a);
  return r + r * (1.0f - a * r);
#else
  return 1.0f / a;
#endif
}

// Problems side by side: entry (i, j) of all of them is one vector. Size is n where it is known when this is compiled, so
// that loops over a small matrix are unrolled, and otherwise zero.
template <class T, int Size>
struct SideBySide {
  typedef typename Simd<T>::V V;
  static constexpr int lanes = Simd<T>::lanes;
  static constexpr T infinity = static_cast<T>(__builtin_inf());

  const HalfSteps<T>& steps;
  const std::size_t problems;
  V *const kernel, *const upstream, *const gradient, *const by_side, *const scalings;
  V good;  // ones in the lanes that are fit for scalings

  MONGE_INLINE SideBySide(const HalfSteps<T>& steps, std::size_t problems, T* room)
      : steps(steps), problems(problems), kernel(first_whole(room)), upstream(kernel + steps.n * steps.n),
        gradient(upstream + steps.n * steps.n), by_side(gradient + steps.n * steps.n),
        scalings(by_side + 2 * steps.n) {}

  static MONGE_INLINE V* first_whole(T* room) {
    constexpr std::uintptr_t width = MONGE_VECTOR_BYTES;
    return reinterpret_cast<V*>((reinterpret_cast<std::uintptr_t>(room) + width - 1) / width * width);
  }

  MONGE_INLINE int n() const { return Size ? Size : static_cast<int>(steps.n); }
  MONGE_INLINE int cells() const { return n() * n(); }
  MONGE_INLINE int place(int i, int j) const { return steps.flipped ? j * n() + i : i * n() + j; }
  MONGE_INLINE bool on_rows(std::size_t step) const { return (steps.count - step) % 2 == 0; }
  MONGE_INLINE V* after(std::size_t step) const { return scalings + step * n(); }

  // Lanes beyond the last problem repeat it.
  MONGE_INLINE void gather(const T* from, V* to) const {
    T* lane = reinterpret_cast<T*>(to);
    for (int l = 0; l < lanes; ++l) {
      const T* matrix = from + (static_cast<std::size_t>(l) < problems ? l : problems - 1) * cells();
      for (int i = 0; i < n(); ++i)
        for (int j = 0; j < n(); ++j) lane[(i * n() + j) * lanes + l] = matrix[place(i, j)];
    }
  }

  MONGE_INLINE void scatter(const V* from, T* to, unsigned char* left) const {
    const T* lane = reinterpret_cast<const T*>(from);
    for (std::size_t l = 0; l < problems; ++l) {
      left[l] = good[l] == 0;
      if (left[l]) continue;
      T* matrix = to + l * cells();
      for (int i = 0; i < n(); ++i)
        for (int j = 0; j < n(); ++j) matrix[place(i, j)] = lane[(i * n() + j) * lanes + l];
    }
  }

  // kernel = exp(S - max S), zero for forbidden pairs; scalings begin with ones.
  MONGE_INLINE void read(const T* scores) {
    gather(scores, kernel);
    const V highest = broadcast<T>(infinity), lowest = -highest;
    V top = lowest, low = highest;
    good = broadcast<T>(1);
    for (int c = 0; c < cells(); ++c) {
      const V s = kernel[c];
      good = s < highest ? good : V{};  // no number passes this, nor does infinity
      top = larger(s, top);
      low = (s > lowest) & (s < low) ? s : low;
    }
    const V none = broadcast<T>(Binary<T>::lowest - 1);
    for (int c = 0; c < cells(); ++c) {
      const V power = (kernel[c] - top) * static_cast<T>(1.4426950408889634074);
      kernel[c] = power_of_two<T, false>(power > none ? power : none);
    }
    good = top - low <= broadcast<T>(steps.range) ? good : V{};
    for (int i = 0; i < n(); ++i) scalings[i] = broadcast<T>(1);
  }

  // to_i = sum_j K_ij by_j for the rows, sum_j K_ji by_j for the columns.
  MONGE_INLINE V product(bool rows, int i, const V* by) const {
    V sum = V{};
    for (int j = 0; j < n(); ++j) sum += kernel[rows ? i * n() + j : j * n() + i] * by[j];
    return sum;
  }

  MONGE_INLINE void step(std::size_t k) const {
    const bool rows = on_rows(k);
    for (int i = 0; i < n(); ++i) after(k)[i] = reciprocal(product(rows, i, after(k - 1)));
  }

  MONGE_INLINE void keep_finite(const V* numbers) {
    for (int c = 0; c < cells(); ++c) good = numbers[c] - numbers[c] == V{} ? good : V{};
  }

  MONGE_INLINE void write_plan(T* plan, unsigned char* left) {
    const V *u = after(steps.count), *v = after(steps.count - 1);
    for (int i = 0; i < n(); ++i)
      for (int j = 0; j < n(); ++j) kernel[i * n() + j] *= u[i] * v[j];
    keep_finite(kernel);
    scatter(kernel, plan, left);
  }

  // Derivatives by the scalings of the side of half-step k, and of the other one.
  MONGE_INLINE V* own(std::size_t k) const { return by_side + (on_rows(k) ? 0 : n()); }

  MONGE_INLINE void begin_back(const T* by_plan) const {
    gather(by_plan, upstream);
    const V *u = after(steps.count), *v = after(steps.count - 1);
    for (int i = 0; i < 2 * n(); ++i) by_side[i] = V{};
    for (int i = 0; i < n(); ++i)
      for (int j = 0; j < n(); ++j) {
        const int c = i * n() + j;
        const V felt = upstream[c] * kernel[c];
        by_side[i] += felt * v[j];
        by_side[n() + j] += felt * u[i];
        gradient[c] = upstream[c] * u[i] * v[j];
      }
  }

  MONGE_INLINE void step_back(std::size_t k) const {
    const bool rows = on_rows(k);
    const V *here = after(k), *before = after(k - 1);
    V *mine = own(k), *other = own(k - 1);
    for (int i = 0; i < n(); ++i) mine[i] *= -here[i] * here[i];
    for (int i = 0; i < n(); ++i)
      for (int j = 0; j < n(); ++j) gradient[rows ? i * n() + j : j * n() + i] += mine[i] * before[j];
    for (int j = 0; j < n(); ++j) other[j] += product(!rows, j, mine);
    for (int i = 0; i < n(); ++i) mine[i] = V{};
  }

  MONGE_INLINE void write_gradient(T* by_scores, unsigned char* left) {
    for (int c = 0; c < cells(); ++c) gradient[c] *= kernel[c];
    keep_finite(gradient);
    scatter(gradient, by_scores, left);
  }
};

// Each half-step waits for the one before it: two groups of lanes take turns, so that one works while the other waits.
// Plans, or with `upstream` the derivatives by the scores.
template <class T, int Size>
void run(const HalfSteps<T>& steps, const T* scores, const T* upstream, std::size_t problems, T* out,
         unsigned char* left, T* room) {
  constexpr std::size_t lanes = Simd<T>::lanes;
  const std::size_t first = problems < lanes ? problems : lanes, further = first * steps.n * steps.n;
  const bool both = problems > first;
  SideBySide<T, Size> one(steps, first, room);
  SideBySide<T, Size> two(steps, problems - first, room + doubly_stochastic_room(steps.n, steps.count, lanes));
  one.read(scores);
  if (both) two.read(scores + further);
  for (std::size_t k = 1; k <= steps.count; ++k) {
    one.step(k);
    if (both) two.step(k);
  }
  if (!upstream) {
    one.write_plan(out, left);
    if (both) two.write_plan(out + further, left + first);
    return;
  }
  one.begin_back(upstream);
  if (both) two.begin_back(upstream + further);
  for (std::size_t k = steps.count; k > 0; --k) {
    one.step_back(k);
    if (both) two.step_back(k);
  }
  one.write_gradient(out, left);
  if (both) two.write_gradient(out + further, left + first);
}

template <class T>
void run_any(const HalfSteps<T>& steps, const T* scores, const T* upstream, std::size_t problems, T* out,
             unsigned char* left, T* room) {
  switch (steps.n) {
    case 2: return run<T, 2>(steps, scores, upstream, problems, out, left, room);
    case 3: return run<T, 3>(steps, scores, upstream, problems, out, left, room);
    case 4: return run<T, 4>(steps, scores, upstream, problems, out, left, room);
    default: return run<T, 0>(steps, scores, upstream, problems, out, left, room);
  }
}

}  // namespace

extern const DoublyStochastic<float> float_halves;
extern const DoublyStochastic<double> double_halves;
const DoublyStochastic<float> float_halves = {2 * Simd<float>::lanes, &run_any<float>};
const DoublyStochastic<double> double_halves = {2 * Simd<double>::lanes, &run_any<double>};

}  // namespace MONGE_ISA
}  // namespace stream
}  // namespace monge
