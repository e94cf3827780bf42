// The passes of element_kernels.h for the instruction set this file is compiled for. Included by the
// element_*.cpp files only; see simd.h.
#pragma once

#include "cpu/elementwise/kernels.h"
#include "cpu/simd/simd.h"

namespace secateur {
namespace {

SECATEUR_INLINE Floats all(float value) { return Floats{} + value; }

// Both keep NaN.
SECATEUR_INLINE Floats at_least(Floats value, Floats bound) { return (value < bound) ? bound : value; }
SECATEUR_INLINE Floats at_most(Floats value, Floats bound) { return (value > bound) ? bound : value; }

// e^x to 2 units in the last place, between the powers of two that f32 has: x = n log 2 + r, and a
// polynomial in r (S. Moshier, Cephes Mathematical Library, expf).
SECATEUR_INLINE Floats exponential(Floats x) {
  x = at_most(at_least(x, all(-87.3f)), all(88.3f));
  // Adding 1.5 * 2^23 rounds to an integer, which stays in the low bits.
  const Floats shifted = x * 1.44269504f + 12582912.0f;
  const Floats n = shifted - 12582912.0f;
  const Floats r = x - n * 0.693359375f + n * 2.12194440e-4f;
  Floats p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const Words power = (reinterpret_cast<Words>(shifted) - 0x4b400000u + 127u) << 23;
  return p * reinterpret_cast<Floats>(power);
}

// 1 / x for positive x, to 1 unit in the last place: a division takes as long as all the rest of a
// logistic function, an estimate of 14 bits and a step of Newton's method a fifth of that.
SECATEUR_INLINE Floats reciprocal(Floats x) {
#if defined(__AVX512F__)
  const auto estimate = reinterpret_cast<Floats>(
      _mm512_maskz_rcp14_ps(0xffff, reinterpret_cast<__m512>(x)));
  return estimate * (2.0f - x * estimate);
#else
  return 1.0f / x;
#endif
}

SECATEUR_INLINE Floats logistic(Floats x) { return reciprocal(1.0f + exponential(-x)); }

// The normal distribution function and its density. The error function is M. Abramowitz and I.
// Stegun, Handbook of Mathematical Functions (1964), 7.1.26, to 1.5e-7.
struct Normal {
  Floats below, density;
};

SECATEUR_INLINE Normal normal(Floats x) {
  const Floats magnitude = (x < 0) ? -x : x;
  const Floats t = reciprocal(1.0f + 0.3275911f * 0.70710678f * magnitude);
  Floats p = t * 1.061405429f - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Floats bell = exponential(-0.5f * x * x);
  const Floats tail = 0.5f * p * t * bell;
  return {(x < 0) ? tail : 1.0f - tail, 0.39894228f * bell};
}

// One activation: value(x) and slope(x).
struct Parameters {
  float alpha, beta;
};

template <int kind>
struct Activation;

template <>
struct Activation<0> {  // sigmoid
  static SECATEUR_INLINE Floats value(Floats x, Parameters) { return logistic(x); }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters) {
    const Floats s = logistic(x);
    return s * (1.0f - s);
  }
};

template <>
struct Activation<1> {  // SiLU
  static SECATEUR_INLINE Floats value(Floats x, Parameters) { return x * logistic(x); }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters) {
    const Floats s = logistic(x);
    return s + x * s * (1.0f - s);
  }
};

template <>
struct Activation<2> {  // hard sigmoid
  static SECATEUR_INLINE Floats value(Floats x, Parameters p) {
    return at_most(at_least(x * p.alpha + p.beta, Floats{}), all(1));
  }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters p) {
    const Floats line = x * p.alpha + p.beta;
    const Floats rising = (line > 0) ? all(p.alpha) : Floats{};
    return (line < 1) ? rising : Floats{};
  }
};

template <>
struct Activation<3> {  // hard swish
  static SECATEUR_INLINE Floats value(Floats x, Parameters p) {
    return x * Activation<2>::value(x, p);
  }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters p) {
    return Activation<2>::value(x, p) + x * Activation<2>::slope(x, p);
  }
};

template <>
struct Activation<4> {  // GELU
  static SECATEUR_INLINE Floats value(Floats x, Parameters) { return x * normal(x).below; }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters) {
    const Normal n = normal(x);
    return n.below + x * n.density;
  }
};

template <>
struct Activation<5> {  // GELU by tanh: (1 + tanh u) / 2 is the logistic function of 2 u
  static SECATEUR_INLINE Floats twice(Floats x) {
    return 1.59576912f * x * (1.0f + 0.044715f * x * x);
  }
  static SECATEUR_INLINE Floats value(Floats x, Parameters) { return x * logistic(twice(x)); }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters) {
    const Floats s = logistic(twice(x));
    return s + x * s * (1.0f - s) * 1.59576912f * (1.0f + 0.134145f * x * x);
  }
};

template <>
struct Activation<6> {  // leaky ReLU
  static SECATEUR_INLINE Floats value(Floats x, Parameters p) { return (x < 0) ? x * p.alpha : x; }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters p) {
    return (x > 0) ? all(1) : all(p.alpha);
  }
};

template <>
struct Activation<7> {  // clip
  static SECATEUR_INLINE Floats value(Floats x, Parameters p) {
    return at_most(at_least(x, all(p.alpha)), all(p.beta));
  }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters p) {
    const Floats above = (x > p.alpha) ? all(1) : Floats{};
    return (x < p.beta) ? above : Floats{};
  }
};

template <>
struct Activation<8> {  // tanh
  static SECATEUR_INLINE Floats value(Floats x, Parameters) {
    return 2.0f * logistic(2.0f * x) - 1.0f;
  }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters) {
    const Floats s = logistic(2.0f * x);
    return 4.0f * s * (1.0f - s);
  }
};

template <>
struct Activation<9> {  // ELU
  static SECATEUR_INLINE Floats value(Floats x, Parameters p) {
    return (x > 0) ? x : (exponential(x) - 1.0f) * p.alpha;
  }
  static SECATEUR_INLINE Floats slope(Floats x, Parameters p) {
    return (x > 0) ? all(1) : exponential(x) * p.alpha;
  }
};

template <class F>
struct Forward {
  static constexpr bool kBinary = false;
  static SECATEUR_INLINE Floats of(Floats x, Floats, Parameters p) { return F::value(x, p); }
};

template <class F>
struct Backward {
  static constexpr bool kBinary = true;
  static SECATEUR_INLINE Floats of(Floats x, Floats dy, Parameters p) { return dy * F::slope(x, p); }
};

struct Product {
  static constexpr bool kBinary = true;
  static SECATEUR_INLINE Floats of(Floats x, Floats second, Parameters) { return x * second; }
};

template <class F, class T>
void pass(const ElementSweep& sweep) {
  const T* const x = static_cast<const T*>(sweep.x);
  const T* const second = static_cast<const T*>(sweep.second);
  T* const y = static_cast<T*>(sweep.y);
  const Parameters parameters{sweep.alpha, sweep.beta};
  const int64_t elements = sweep.elements;
  int64_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) {
    const Floats other = F::kBinary ? read<Floats>(second + i) : Floats{};
    write(y + i, F::of(read<Floats>(x + i), other, parameters));
  }
  const int rest = static_cast<int>(elements - i);
  if (rest == 0) return;
  const Floats other = F::kBinary ? read_some(second + i, rest) : Floats{};
  write_some(y + i, F::of(read_some(x + i, rest), other, parameters), rest);
}

#define BOTH(F) {pass<F, float>, pass<F, bfloat16>}
#define EVERY(F)                                                                                \
  {BOTH(F<Activation<0>>), BOTH(F<Activation<1>>), BOTH(F<Activation<2>>), BOTH(F<Activation<3>>), \
   BOTH(F<Activation<4>>), BOTH(F<Activation<5>>), BOTH(F<Activation<6>>), BOTH(F<Activation<7>>), \
   BOTH(F<Activation<8>>), BOTH(F<Activation<9>>)}

const ElementKernels kElementKernels = {
    .activation = EVERY(Forward),
    .activation_backward = EVERY(Backward),
    .product = BOTH(Product),
};

#undef EVERY
#undef BOTH

}  // namespace
}  // namespace secateur
