// Sixteen channels of Winograd's transforms, and the one-dimensional transforms themselves.
//
// Included by the winograd_*_avx512.cpp files only, where everything stays in an unnamed namespace:
// an inline function compiled for AVX-512 must never be the copy that the linker keeps for everyone.
#pragma once

// GCC 12 takes its own "undefined" operands for mistakes of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>

namespace secateur::winograd {
namespace {

using Lanes = __m512;

constexpr int64_t kLanes = 16;

inline __mmask16 lanes_at(int64_t channel, int64_t channels) {
  const int64_t left = channels - channel;
  return left >= kLanes ? static_cast<__mmask16>(0xffff)
                        : static_cast<__mmask16>((1u << left) - 1);
}

// To nearest even; a NaN stays one.
inline __m512i rounded_bits(Lanes values) {
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum =
      _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(sum, nan, bits, _mm512_set1_epi32(0x400000));
}

// f32 and the bits of bf16; lanes left out are zero, and their addresses are not touched.
inline Lanes read(const float* at, __mmask16 lanes) { return _mm512_maskz_loadu_ps(lanes, at); }
inline Lanes read(const uint16_t* at, __mmask16 lanes) {
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, at));
  return _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
}
inline void write(float* at, __mmask16 lanes, Lanes values) {
  _mm512_mask_storeu_ps(at, lanes, values);
}
inline void write(uint16_t* at, __mmask16 lanes, Lanes values) {
#if defined(SECATEUR_AVX512_BF16)
  const auto narrow = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values));
#else
  const __m256i narrow = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_bits(values), 16));
#endif
  _mm256_mask_storeu_epi16(at, lanes, narrow);
}

inline Lanes times(float factor, Lanes a, Lanes b) {  // factor * a + b
  return _mm512_fmadd_ps(_mm512_set1_ps(factor), a, b);
}

template <int Count>
struct Row {
  Lanes v[Count];
};

// B^T d
inline Row<6> input_row(Lanes d0, Lanes d1, Lanes d2, Lanes d3, Lanes d4, Lanes d5) {
  const Lanes a = times(-4, d2, d4), b = times(-4, d1, d3), c = d4 - d2, d = d3 - d1;
  return {{times(4, d0, a - d2), a + b, a - b, times(2, d, c), times(-2, d, c),
           times(-4, d, d5 - d3)}};
}

// The gradient's filter: powers of the points 0, 1, -1, 2, -2 and infinity.
inline Row<6> gradient_row(Lanes g0, Lanes g1, Lanes g2, Lanes g3) {
  const Lanes even = g0 + g2, odd = g1 + g3, even2 = times(4, g2, g0), odd2 = times(4, g3, g1);
  return {{g0, even + odd, even - odd, times(2, odd2, even2), times(-2, odd2, even2), g3}};
}

// A^T m
inline Row<4> output_row(Lanes m0, Lanes m1, Lanes m2, Lanes m3, Lanes m4, Lanes m5) {
  const Lanes s1 = m1 + m2, d1 = m1 - m2, s2 = m3 + m4, d2 = m3 - m4;
  return {{m0 + s1 + s2, times(2, d2, d1), times(4, s2, s1), times(8, d2, d1 + m5)}};
}

// The gradient's A^T, with the scales that its filter's transform left out.
inline Row<3> weight_row(Lanes m0, Lanes m1, Lanes m2, Lanes m3, Lanes m4, Lanes m5) {
  const Lanes sixth = _mm512_set1_ps(-1.0f / 6), twentyfourth = _mm512_set1_ps(1.0f / 24);
  const Lanes s1 = (m1 + m2) * sixth, d1 = (m1 - m2) * sixth;
  const Lanes s2 = (m3 + m4) * twentyfourth, d2 = (m3 - m4) * twentyfourth;
  return {{times(0.25f, m0, s1 + s2), times(2, d2, d1), times(4, s2, s1 + m5)}};
}

// G g
inline Row<6> filter_row(Lanes g0, Lanes g1, Lanes g2) {
  const Lanes sixth = _mm512_set1_ps(-1.0f / 6), twentyfourth = _mm512_set1_ps(1.0f / 24);
  const Lanes even = g0 + g2, even2 = times(4, g2, g0);
  return {{_mm512_set1_ps(0.25f) * g0, sixth * (even + g1), sixth * (even - g1),
           twentyfourth * times(2, g1, even2), twentyfourth * times(-2, g1, even2), g2}};
}

}  // namespace
}  // namespace secateur::winograd
