// Gradients of weights: sums over pairs of pixels, and how pixels are paired. Included by the
// pairs/*_avx512.cpp files only; see simd.h.
#pragma once

#include "cpu/convolution/pairs/kernels.h"
#include "cpu/convolution/pairs/products.h"

namespace secateur::pairs {
namespace {

// sums[m][n] += a[m] . b[n] over `pairs` of a row.
template <class P, int M, int N>
SECATEUR_INLINE void correlate_pairs(const PixelSums& sweep, const uint16_t* a, const uint16_t* b,
                                     int64_t pairs, Floats (&sums)[M][N]) {
  for (int64_t k = 0; k < pairs; ++k) {
    Words right[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) right[n] = read_words(b + n * 2 * kLanes);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const Words left = repeat_pair(a + 2 * m);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) P::add(sums[m][n], left, right[n]);
    }
    a += sweep.a_step;
    b += sweep.b_step;
  }
}

template <class P, int M, int N>
void correlate_tile(const PixelSums& sweep, int64_t first_m, int64_t first_n) {
  Floats sums[M][N] = {};
  for (int64_t row = 0, at = 0; row < sweep.rows;) {
    Floats chain[M][N] = {};
    for (int64_t left = P::kLongest; left > 0 && row < sweep.rows;) {
      const int64_t rest = sweep.a[row] == nullptr ? 0 : sweep.pairs - at;
      const int64_t pairs = rest < left ? rest : left;
      if (pairs > 0) {
        correlate_pairs<P, M, N>(sweep, sweep.a[row] + at * sweep.a_step + 2 * first_m,
                                 sweep.b[row] + at * sweep.b_step + 2 * first_n, pairs, chain);
      }
      left -= pairs;
      at += pairs;
      if (pairs < rest) continue;
      ++row;
      at = 0;
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sums[m][n] += P::sum_of(chain[m][n]);
    }
  }
  for (int m = 0; m < M; ++m) {
    float* const to = sweep.sums + (first_m + m) * sweep.sums_step + first_n;
    for (int n = 0; n < N; ++n) {
      write(to + n * kLanes, read<Floats>(to + n * kLanes) + sums[m][n] * sweep.scale);
    }
  }
}

typedef void (*CorrelateTile)(const PixelSums&, int64_t, int64_t);

// correlate_tile_of<P, N>(M): the tile of M rows of sums.
template <class P, int N, int M = kMostRows>
CorrelateTile correlate_tile_of(int64_t rows) {
  if (rows == M) return correlate_tile<P, M, N>;
  if constexpr (M > 1) return correlate_tile_of<P, N, M - 1>(rows);
  return nullptr;
}

// What a tile reads of `a` stays in the first-level cache for all of its outputs.
template <class P>
void correlate(const PixelSums& sweep) {
  const int64_t tiles = (sweep.m + kMostRows - 1) / kMostRows;
  const int64_t least = sweep.m / tiles, larger = sweep.m % tiles;
  int64_t first = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t rows = tile < larger ? least + 1 : least;
    const CorrelateTile two = correlate_tile_of<P, 2>(rows), one = correlate_tile_of<P, 1>(rows);
    for (int64_t n = 0; n < sweep.n; n += 2 * kLanes) {
      (sweep.n - n > kLanes ? two : one)(sweep, first, n);
    }
    first += rows;
  }
}

SECATEUR_INLINE Words widened(const bfloat16* at, __mmask16 lanes) {
  if (at == nullptr) return Words{};
  return reinterpret_cast<Words>(
      _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_maskz_loadu_epi16(lanes, at)));
}

SECATEUR_INLINE Words rounded(Words half, float factor) {
  const Floats value = reinterpret_cast<Floats>(half << 16);
  // Adding 1.5 * 2^23 leaves an integer in the lower bits.
  return reinterpret_cast<Words>(value * factor + 12582912.0f);
}

template <class P>
void interleave(const bfloat16* first, const bfloat16* second, int64_t count, float factor,
                uint16_t* to) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t left = count - i;
    const auto lanes = static_cast<__mmask16>(left < kLanes ? (1u << left) - 1 : 0xffff);
    Words low = widened(first == nullptr ? nullptr : first + i, lanes);
    Words high = widened(second == nullptr ? nullptr : second + i, lanes);
    if (P::kScaled) {
      low = rounded(low, factor);
      high = rounded(high, factor);
    }
    _mm512_mask_storeu_epi32(to + 2 * i, lanes,
                             reinterpret_cast<__m512i>((low & 0xffff) | high << 16));
  }
}

}  // namespace
}  // namespace secateur::pairs
