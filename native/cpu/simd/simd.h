// Vectors of the instruction set this file is compiled for: 16, 8 or 4 floats.
//
// Included by the simd_*.cpp files only. Everything is in an unnamed
// namespace and nothing of the standard library is instantiated here: an inline function compiled
// for AVX-512 must never be the copy the linker keeps for everyone.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "cpu/simd/vector_kernels.h"

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

// GCC 12 converts wide vectors in halves, at twice the cost of the instructions there are; their
// zero-masking forms keep it from warning about undefined registers in its own header.
SECATEUR_INLINE Floats widen(Halves halves) {
#if defined(__AVX512F__)
  const auto words = reinterpret_cast<Words>(
      _mm512_maskz_cvtepu16_epi32(0xffff, reinterpret_cast<__m256i>(halves)));
#elif defined(__AVX2__)
  const auto words = reinterpret_cast<Words>(
      _mm256_cvtepu16_epi32(reinterpret_cast<__m128i>(halves)));
#else
  const Words words = __builtin_convertvector(halves, Words);
#endif
  return reinterpret_cast<Floats>(words << 16);
}

#if defined(SECATEUR_AVX512_BF16)
SECATEUR_INLINE Halves narrow(Floats values) {
  return reinterpret_cast<Halves>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(values)));
}
#else
SECATEUR_INLINE Halves narrow(Floats values) {
  const Words bits = reinterpret_cast<Words>(values);
  const Words rounded = bits + 0x7fff + (bits >> 16 & 1);
  // Rounding could carry a NaN's payload into infinity or zero.
  const Words kept = ((values == values) ? rounded : (bits | 0x400000)) >> 16;
#if defined(__AVX512F__)
  return reinterpret_cast<Halves>(
      _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(kept)));
#elif defined(__AVX2__)
  const __m256i words = reinterpret_cast<__m256i>(kept);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08);
  return reinterpret_cast<Halves>(_mm256_castsi256_si128(packed));
#else
  return __builtin_convertvector(kept, Halves);
#endif
}
#endif

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
  const auto mask = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(T) == 4) {
    return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(mask, at));
  } else {
    return widen(reinterpret_cast<Halves>(_mm256_maskz_loadu_epi16(mask, at)));
  }
#else
  Floats values = {};
  for (int lane = 0; lane < count; ++lane) values[lane] = read<float>(at + lane);
  return values;
#endif
}

template <class T>
SECATEUR_INLINE void write_some(T* at, Floats values, int count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(T) == 4) {
    _mm512_mask_storeu_ps(at, mask, reinterpret_cast<__m512>(values));
  } else {
    _mm256_mask_storeu_epi16(at, mask, reinterpret_cast<__m256i>(narrow(values)));
  }
#else
  for (int lane = 0; lane < count; ++lane) write(at + lane, static_cast<float>(values[lane]));
#endif
}

// relu keeps NaN, so that a diverged network is noticed: the maximum instructions return their
// second operand when either is NaN.
SECATEUR_INLINE Floats positive(Floats value) {
#if defined(__AVX512F__)
  return reinterpret_cast<Floats>(
      _mm512_maskz_max_ps(0xffff, _mm512_setzero_ps(), reinterpret_cast<__m512>(value)));
#elif defined(__AVX2__)
  return reinterpret_cast<Floats>(
      _mm256_max_ps(_mm256_setzero_ps(), reinterpret_cast<__m256>(value)));
#else
  return (value < 0) ? Floats{} : value;
#endif
}
SECATEUR_INLINE float positive(float value) { return value < 0 ? 0 : value; }

// `value` where `sign` is above zero, else zero.
SECATEUR_INLINE Floats where_positive(Floats sign, Floats value) {
  return (sign > 0) ? value : Floats{};
}
SECATEUR_INLINE float where_positive(float sign, float value) { return sign > 0 ? value : 0; }

}  // namespace
}  // namespace secateur
