// Vectors of the instruction set that this file is compiled for, through the vector extensions of GCC and Clang.
// Everything lives in the namespace MONGE_ISA: the linker must never share a function between instruction sets, which is
// also why no standard container or algorithm appears here.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define MONGE_INLINE inline __attribute__((always_inline))
#define MONGE_LAMBDA __attribute__((always_inline))

namespace monge {
namespace stream {
namespace MONGE_ISA {

template <class T>
struct Simd;

template <>
struct Simd<float> {
  typedef float V __attribute__((vector_size(MONGE_VECTOR_BYTES)));
  typedef std::uint32_t Bits __attribute__((vector_size(MONGE_VECTOR_BYTES)));
  typedef float Unaligned __attribute__((vector_size(MONGE_VECTOR_BYTES), aligned(4), may_alias));
  static constexpr int lanes = MONGE_VECTOR_BYTES / 4;
};

template <>
struct Simd<double> {
  typedef double V __attribute__((vector_size(MONGE_VECTOR_BYTES)));
  typedef std::uint64_t Bits __attribute__((vector_size(MONGE_VECTOR_BYTES)));
  typedef double Unaligned __attribute__((vector_size(MONGE_VECTOR_BYTES), aligned(8), may_alias));
  static constexpr int lanes = MONGE_VECTOR_BYTES / 8;
};

template <class T>
MONGE_INLINE typename Simd<T>::V load(const T* from) {
  return *reinterpret_cast<const typename Simd<T>::Unaligned*>(from);
}

template <class T>
MONGE_INLINE void store(T* to, typename Simd<T>::V value) {
  *reinterpret_cast<typename Simd<T>::Unaligned*>(to) = value;
}

template <class T>
MONGE_INLINE typename Simd<T>::V broadcast(T value) {
  return value - typename Simd<T>::V{};
}

template <class V>
MONGE_INLINE V larger(V a, V b) {
  return a > b ? a : b;
}

template <class T>
MONGE_INLINE typename Simd<T>::V absolute(typename Simd<T>::V a) {
  return larger(a, -a);
}

// sums[0 .. lanes) += value, in double precision.
MONGE_INLINE void add_to(double* sums, Simd<double>::V value) {
  store<double>(sums, load<double>(sums) + value);
}

MONGE_INLINE void add_to(double* sums, Simd<float>::V value) {
  typedef float Half __attribute__((vector_size(MONGE_VECTOR_BYTES / 2)));
  constexpr int lanes = Simd<double>::lanes;
  const union {
    Simd<float>::V whole;
    Half half[2];
  } parts = {value};
  add_to(sums, __builtin_convertvector(parts.half[0], Simd<double>::V));
  add_to(sums + lanes, __builtin_convertvector(parts.half[1], Simd<double>::V));
}

template <class T>
MONGE_INLINE T largest(typename Simd<T>::V a) {
  T top = a[0];
  for (int l = 1; l < Simd<T>::lanes; ++l) top = a[l] > top ? a[l] : top;
  return top;
}

template <class T>
MONGE_INLINE T total(typename Simd<T>::V a) {
  T sum = 0;
  for (int l = 0; l < Simd<T>::lanes; ++l) sum += a[l];
  return sum;
}

// The lanes in which a > b, as bits.
#if defined(__AVX512F__)
MONGE_INLINE unsigned lanes_above(Simd<float>::V a, Simd<float>::V b) {
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
}
MONGE_INLINE unsigned lanes_above(Simd<double>::V a, Simd<double>::V b) {
  return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ);
}
#elif defined(__AVX2__)
MONGE_INLINE unsigned lanes_above(Simd<float>::V a, Simd<float>::V b) {
  return static_cast<unsigned>(_mm256_movemask_ps((__m256)(a > b)));
}
MONGE_INLINE unsigned lanes_above(Simd<double>::V a, Simd<double>::V b) {
  return static_cast<unsigned>(_mm256_movemask_pd((__m256d)(a > b)));
}
#else
template <class V>
MONGE_INLINE unsigned lanes_above(V a, V b) {
  unsigned bits = 0;
  for (unsigned l = 0; l < sizeof(V) / sizeof(a[0]); ++l) bits |= static_cast<unsigned>(a[l] > b[l]) << l;
  return bits;
}
#endif

// Minimax polynomials of 2^r on [-1/2, 1/2]: relative error 2e-9 in single and 3e-18 in double precision.
MONGE_INLINE Simd<float>::V fraction_power(Simd<float>::V r) {
  Simd<float>::V p = r * 0.000153458121612f + 0.00133999311772f;
  p = p * r + 0.00961848895633f;
  p = p * r + 0.0555032877711f;
  p = p * r + 0.240226468906f;
  p = p * r + 0.693147205737f;
  return p * r + 1.0f;
}

MONGE_INLINE Simd<double>::V fraction_power(Simd<double>::V r) {
  Simd<double>::V p = r * 4.4352827069572771511e-10 + 7.0741056135081427963e-9;
  p = p * r + 1.0178198021671930844e-7;
  p = p * r + 1.321543308967639918e-6;
  p = p * r + 1.5252733489988525649e-5;
  p = p * r + 1.5403530462514432062e-4;
  p = p * r + 1.3333558146789921722e-3;
  p = p * r + 9.6181291075883352443e-3;
  p = p * r + 5.5504108664819921605e-2;
  p = p * r + 0.24022650695910156204;
  p = p * r + 0.69314718055994533046;
  return p * r + 1.0;
}

template <class T>
struct Binary;

template <>
struct Binary<float> {
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
  static constexpr float lowest = -126.0f, highest = 128.0f;
  static constexpr int mantissa = 23;
};

template <>
struct Binary<double> {
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double lowest = -1022.0, highest = 1024.0;
  static constexpr int mantissa = 52;
};

// 2^t; zero below the smallest normal number. For t >= the largest exponent only `Free` gives infinity.
template <class T, bool Free>
MONGE_INLINE typename Simd<T>::V power_of_two(typename Simd<T>::V t) {
  typedef typename Simd<T>::V V;
  typedef typename Simd<T>::Bits Bits;  // unsigned, in which sums and shifts may overflow
  const V shifted = t + Binary<T>::magic;
  const V r = t - (shifted - Binary<T>::magic);
  const V p = fraction_power(r);
  const V scaled = (V)((Bits)p + ((Bits)shifted << Binary<T>::mantissa));
  V out = t < Binary<T>::lowest ? V{} : scaled;
  if (Free) out = t >= Binary<T>::highest ? broadcast<T>(static_cast<T>(__builtin_inf())) : out;
  return out;
}

}  // namespace MONGE_ISA
}  // namespace stream
}  // namespace monge
