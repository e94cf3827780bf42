// Vectors of the instruction set this file is compiled for: 16, 8 or 4 floats.
//
// Included by simd_avx512.cpp, simd_avx2.cpp and simd_generic.cpp only. Everything is in an unnamed
// namespace and nothing of the standard library is instantiated here: an inline function compiled
// for AVX-512 must never be the copy the linker keeps for everyone.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "cpu/vector_kernels.h"

namespace secateur {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kTileRows = 12;  // rows of accumulators, two vectors each: 24 of 32 registers
constexpr int kUnroll = 4;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kTileRows = 6;  // 12 of 16 registers
constexpr int kUnroll = 2;
#else
constexpr int kVectorBytes = 16;
constexpr int kTileRows = 6;
constexpr int kUnroll = 2;
#endif
constexpr int kLanes = kVectorBytes / 4;

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Words __attribute__((vector_size(kVectorBytes)));
typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));
typedef double Doubles __attribute__((vector_size(kVectorBytes)));
// Unaligned, aliasing forms for memory.
typedef float FloatsAt __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef uint16_t HalvesAt __attribute__((vector_size(kVectorBytes / 2), aligned(2), may_alias));
typedef double DoublesAt __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));

#define SECATEUR_INLINE inline __attribute__((always_inline))

template <class F>
struct LanesOf;
template <>
struct LanesOf<Floats> {
  typedef float Scalar;
  static constexpr int count = kLanes;
};
template <>
struct LanesOf<Doubles> {
  typedef double Scalar;
  static constexpr int count = kLanes / 2;
};
template <>
struct LanesOf<float> {
  typedef float Scalar;
  static constexpr int count = 1;
};

SECATEUR_INLINE Floats widen(Halves halves) {
  const Words words = __builtin_convertvector(halves, Words) << 16;
  return reinterpret_cast<Floats>(words);
}

SECATEUR_INLINE Halves narrow(Floats values) {
  const Words bits = reinterpret_cast<Words>(values);
  const Words rounded = bits + 0x7fff + (bits >> 16 & 1);
  // Rounding could carry a NaN's payload into infinity or zero.
  const Words kept = (values == values) ? rounded : (bits | 0x400000);
  return __builtin_convertvector(kept >> 16, Halves);
}

// read<F> and write: F is Floats for whole vectors, float for single elements.
template <class F>
F read(const float* at);
template <class F>
F read(const bfloat16* at);

template <>
SECATEUR_INLINE Floats read<Floats>(const float* at) {
  return *reinterpret_cast<const FloatsAt*>(at);
}
template <>
SECATEUR_INLINE Floats read<Floats>(const bfloat16* at) {
  return widen(*reinterpret_cast<const HalvesAt*>(at));
}
template <>
SECATEUR_INLINE float read<float>(const float* at) {
  return *at;
}
template <>
SECATEUR_INLINE float read<float>(const bfloat16* at) {
  const uint32_t bits = static_cast<uint32_t>(at->bits) << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

SECATEUR_INLINE void write(float* at, Floats values) { *reinterpret_cast<FloatsAt*>(at) = values; }
SECATEUR_INLINE void write(bfloat16* at, Floats values) {
  *reinterpret_cast<HalvesAt*>(at) = narrow(values);
}
SECATEUR_INLINE void write(float* at, float value) { *at = value; }
SECATEUR_INLINE void write(bfloat16* at, float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  const uint32_t rounded = value == value ? bits + 0x7fff + (bits >> 16 & 1) : bits | 0x400000;
  at->bits = static_cast<uint16_t>(rounded >> 16);
}

// The first `count` lanes, fewer than a vector; the rest reads as zero and is not written.
template <class T>
SECATEUR_INLINE Floats read_some(const T* at, int count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const auto mask = static_cast<__mmask16>((1u << count) - 1);
    return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(mask, at));
  }
#endif
  Floats values = {};
  for (int lane = 0; lane < count; ++lane) values[lane] = read<float>(at + lane);
  return values;
}

template <class T>
SECATEUR_INLINE void write_some(T* at, Floats values, int count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    const auto mask = static_cast<__mmask16>((1u << count) - 1);
    _mm512_mask_storeu_ps(at, mask, reinterpret_cast<__m512>(values));
    return;
  } else {
    const auto mask = static_cast<__mmask16>((1u << count) - 1);
    const Halves halves = narrow(values);
    _mm256_mask_storeu_epi16(at, mask, reinterpret_cast<__m256i>(halves));
    return;
  }
#endif
  for (int lane = 0; lane < count; ++lane) write(at + lane, static_cast<float>(values[lane]));
}

SECATEUR_INLINE Floats maximum(Floats a, Floats b) { return (a > b) ? a : b; }

// relu keeps NaN, so that a diverged network is noticed.
SECATEUR_INLINE Floats positive(Floats value) { return (value < 0) ? Floats{} : value; }
SECATEUR_INLINE float positive(float value) { return value < 0 ? 0 : value; }

// `value` where `sign` is above zero, else zero.
SECATEUR_INLINE Floats where_positive(Floats sign, Floats value) {
  return (sign > 0) ? value : Floats{};
}
SECATEUR_INLINE float where_positive(float sign, float value) { return sign > 0 ? value : 0; }

}  // namespace
}  // namespace secateur
