// Register tiles of up to 14 pixels by two panels of outputs, and conversion to int16. Included by the
// pairs/*_avx512.cpp files only; see simd.h.
#pragma once

#include "cpu/convolution/pairs/kernels.h"
#include "cpu/convolution/pairs/products.h"
#include "cpu/simd/finish.h"

namespace secateur::pairs {
namespace {

// sums[m][n] += source(m) * weights over `pairs` of a run. Pointers advance three pixels apart, so that
// x86 addressing (base + step * 1 or 2) reaches every pixel without a register each.
template <class P, int M, int N>
SECATEUR_INLINE void multiply_pairs(const Sweep& sweep, const uint16_t* source,
                                    const uint16_t* weights, int64_t pairs, Floats (&sums)[M][N]) {
  const int64_t step = sweep.column_step, panel = sweep.panel;
  constexpr int kBases = (M + 2) / 3;
  const uint16_t* base[kBases];
#pragma GCC unroll 16
  for (int b = 0; b < kBases; ++b) base[b] = source + 3 * b * step;
  for (int64_t k = 0; k < pairs; ++k) {
    Words row[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) row[n] = read_words(weights + n * panel);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Words pair = repeat_pair(base[m / 3] + (m % 3) * step);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) P::add(sums[m][n], pair, row[n]);
    }
#pragma GCC unroll 16
    for (int b = 0; b < kBases; ++b) base[b] += 2;
    weights += 2 * kLanes;
  }
}

// The next chain of a tile's products: from pair `at` of run `run` on, both of which it advances.
template <class P, int M, int N>
SECATEUR_INLINE void multiply_chain(const Sweep& sweep, const uint16_t* source,
                                    const uint16_t* weights, int64_t& run, int64_t& at,
                                    Floats (&sums)[M][N]) {
  for (int64_t left = P::kLongest; left > 0 && run < sweep.run_count;) {
    const Run& whole = sweep.runs[run];
    const int64_t rest = whole.pairs - at, pairs = rest < left ? rest : left;
    multiply_pairs<P, M, N>(sweep, source + whole.source + 2 * at,
                            weights + (whole.row + at) * 2 * kLanes, pairs, sums);
    left -= pairs;
    at += pairs;
    if (at < whole.pairs) continue;
    ++run;
    at = 0;
  }
}

template <class P, class T, int N>
void finish_tile(const Sweep& sweep, const Floats* sums, int64_t pixels, int64_t column,
                 int64_t offset, int64_t channel) {
  for (int n = 0; n < N; ++n) {
    const int64_t first = channel + n * kLanes, left = sweep.channels - first;
    const int count = left < kLanes ? static_cast<int>(left) : static_cast<int>(kLanes);
    const Floats bias = table_at(sweep.bias, first, count);
    const Floats weight_scale = table_at(P::kScaled ? sweep.weight_scales : nullptr, first, count);
    for (int64_t m = 0; m < pixels; ++m) {
      const int64_t at = offset + m * sweep.y_column_step + first;
      const T* const residual =
          sweep.residual == nullptr ? nullptr : static_cast<const T*>(sweep.residual) + at;
      Floats value = sums[m * N + n];
      if (P::kScaled) value *= weight_scale * sweep.scales[(column + m) * sweep.scale_step];
      finish_vector(residual, static_cast<T*>(sweep.y) + at, value + bias, sweep.relu, count);
    }
  }
}

template <class P, int M, int N>
void convolve_tile(const Sweep& sweep, const uint16_t* source, const uint16_t* weights,
                   int64_t column, int64_t offset, int64_t channel) {
  Floats sums[M][N] = {};
  for (int64_t run = 0, at = 0; run < sweep.run_count;) {
    Floats chain[M][N] = {};
    multiply_chain<P, M, N>(sweep, source, weights, run, at, chain);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sums[m][n] += P::sum_of(chain[m][n]);
    }
  }
  if (sweep.y_bf16) {
    finish_tile<P, bfloat16, N>(sweep, &sums[0][0], M, column, offset, channel);
  } else {
    finish_tile<P, float, N>(sweep, &sums[0][0], M, column, offset, channel);
  }
}

typedef void (*TileFunction)(const Sweep&, const uint16_t*, const uint16_t*, int64_t, int64_t, int64_t);

// tile_function<P, N>(M): the tile of M pixels.
template <class P, int N, int M = kMostRows>
TileFunction tile_function(int64_t pixels) {
  if (pixels == M) return convolve_tile<P, M, N>;
  if constexpr (M > 1) return tile_function<P, N, M - 1>(pixels);
  return nullptr;
}

// A row of outputs in tiles as equal as they can be.
template <class P, int N>
void convolve_row(const Sweep& sweep, const uint16_t* source, const uint16_t* weights, int64_t offset,
                  int64_t channel) {
  const int64_t tiles = (sweep.columns + kMostRows - 1) / kMostRows;
  const int64_t least = sweep.columns / tiles, larger = sweep.columns % tiles;
  const TileFunction small = tile_function<P, N>(least);
  const TileFunction large = larger == 0 ? small : tile_function<P, N>(least + 1);
  int64_t column = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    (tile < larger ? large : small)(sweep, source + column * sweep.column_step, weights, column,
                                    offset + column * sweep.y_column_step, channel);
    column += tile < larger ? least + 1 : least;
  }
}

template <class P>
void convolve(const Sweep& sweep) {
  if (sweep.columns <= 0) return;
  for (int64_t channel = 0; channel < sweep.channels; channel += 2 * kLanes) {
    const uint16_t* const weights = sweep.weights + channel / kLanes * sweep.panel;
    const bool two = sweep.channels - channel > kLanes;
    for (int64_t row = 0; row < sweep.rows; ++row) {
      (two ? convolve_row<P, 2> : convolve_row<P, 1>)(sweep, sweep.source + row * sweep.row_step,
                                                      weights, row * sweep.y_row_step, channel);
    }
  }
}

uint16_t largest(const bfloat16* values, int64_t count) {
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  __m512i most = _mm512_setzero_si512();
  for (int64_t i = 0; i < count; i += 32) {
    const int64_t left = count - i;
    const __mmask32 lanes = left < 32 ? (1u << left) - 1 : ~0u;
    const __m512i found = _mm512_maskz_loadu_epi16(lanes, values + i);
    most = _mm512_maskz_max_epu16(~0u, most, _mm512_and_si512(found, magnitude));
  }
  alignas(64) uint16_t lane[32];
  _mm512_store_si512(lane, most);
  uint16_t answer = 0;
  for (const uint16_t value : lane) answer = value > answer ? value : answer;
  return answer;
}

// Adding 1.5 * 2^23 leaves an integer in the lower bits. The upper and the lower bf16 of each lane are
// converted apart.
void quantise(const bfloat16* values, int64_t count, float factor, uint16_t* to) {
  const __m512 scale = _mm512_set1_ps(factor), shift = _mm512_set1_ps(12582912.0f);
  const __m512i upper = _mm512_set1_epi32(-65536);
  for (int64_t i = 0; i < count; i += 32) {
    const int64_t left = count - i;
    const __mmask32 lanes = left < 32 ? (1u << left) - 1 : ~0u;
    const __m512i found = _mm512_maskz_loadu_epi16(lanes, values + i);
    const __m512 odd = _mm512_castsi512_ps(_mm512_and_si512(found, upper));
    const __m512 even = _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, found, 16));
    const __m512i high = _mm512_castps_si512(_mm512_fmadd_ps(odd, scale, shift));
    const __m512i low = _mm512_castps_si512(_mm512_fmadd_ps(even, scale, shift));
    const __m512i both =
        _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_maskz_slli_epi32(0xffff, high, 16));
    _mm512_mask_storeu_epi16(to + i, lanes, both);
  }
}

}  // namespace
}  // namespace secateur::pairs
