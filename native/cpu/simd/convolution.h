// Convolution's inner loops: register tiles of kTileRows pixels by two vectors of output channels.
// Included by the simd_*.cpp files; see simd.h.
#pragma once

#include "cpu/simd/finish.h"
#include "cpu/simd/simd.h"

namespace secateur {
namespace {

// Longer sums of products are taken in pieces, which are then added up: the rounding of one chain
// of a thousand products is several times that of four chains of a quarter.
constexpr int64_t kLongestChain = 256;

// sums[m][n] += source(m) * weights along one run. Pointers advance three rows apart, so that x86
// addressing (base + step * 1 or 2) reaches every row without a register each.
template <int M, int N>
SECATEUR_INLINE void multiply_run(const ConvolutionSweep& sweep, const Run& run, const float* source,
                                  const float* weights, Floats (&sums)[M][N]) {
  const int64_t step = sweep.column_step, panel = sweep.panel;
  constexpr int kBases = (M + 2) / 3;
  const float* base[kBases];
#pragma GCC unroll 16
  for (int b = 0; b < kBases; ++b) base[b] = source + run.source + 3 * b * step;
  const float* packed = weights + run.row * kLanes;
  for (int64_t k = 0; k < run.length; ++k) {
    Floats row[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) row[n] = read<Floats>(packed + n * panel);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      const float value = base[m / 3][(m % 3) * step];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sums[m][n] += value * row[n];
    }
#pragma GCC unroll 16
    for (int b = 0; b < kBases; ++b) ++base[b];
    packed += kLanes;
  }
}

// tile[m][n] = sum over runs of source(m) * weights, in pieces of up to kLongestChain products.
template <int M, int N>
SECATEUR_INLINE void multiply_tile(const ConvolutionSweep& sweep, const float* source,
                                   const float* weights, Floats (&sums)[M][N]) {
  int64_t products = 0;
  for (int64_t r = 0; r < sweep.run_count; ++r) products += sweep.runs[r].length;
  if (products <= kLongestChain) {
    for (int64_t r = 0; r < sweep.run_count; ++r) {
      multiply_run<M, N>(sweep, sweep.runs[r], source, weights, sums);
    }
    return;
  }
  for (int64_t r = 0; r < sweep.run_count; ++r) {
    const Run& whole = sweep.runs[r];
    for (int64_t k = 0; k < whole.length; k += kLongestChain) {
      const int64_t left = whole.length - k;
      const Run piece{whole.source + k, whole.row + k, left < kLongestChain ? left : kLongestChain};
      Floats part[M][N] = {};
      multiply_run<M, N>(sweep, piece, source, weights, part);
      for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) sums[m][n] += part[m][n];
      }
    }
  }
}

template <class T, int N>
void finish_tile(const ConvolutionSweep& sweep, const Floats* sums, int64_t pixels, int64_t offset,
                 int64_t channel) {
  for (int n = 0; n < N; ++n) {
    const int64_t first = channel + n * kLanes;
    const int64_t left = sweep.channels - first;
    const int count = left < kLanes ? static_cast<int>(left) : kLanes;
    const Floats bias = table_at(sweep.bias, first, count);
    for (int64_t m = 0; m < pixels; ++m) {
      const int64_t at = offset + m * sweep.y_column_step + first;
      const T* const residual =
          sweep.residual == nullptr ? nullptr : static_cast<const T*>(sweep.residual) + at;
      const Floats value = sums[m * N + n] + bias;
      finish_vector(residual, static_cast<T*>(sweep.y) + at, value, sweep.relu, count);
    }
  }
}

template <int M, int N>
void convolve_tile(const ConvolutionSweep& sweep, const float* source, const float* weights,
                   int64_t offset, int64_t channel) {
  Floats sums[M][N] = {};
  multiply_tile<M, N>(sweep, source, weights, sums);
  if (sweep.y_bf16) {
    finish_tile<bfloat16, N>(sweep, &sums[0][0], M, offset, channel);
  } else {
    finish_tile<float, N>(sweep, &sums[0][0], M, offset, channel);
  }
}

typedef void (*TileFunction)(const ConvolutionSweep&, const float*, const float*, int64_t, int64_t);

// tile_function<N>(M): the tile of M pixels.
template <int N, int M = kTileRows>
TileFunction tile_function(int64_t pixels) {
  if (pixels == M) return convolve_tile<M, N>;
  if constexpr (M > 1) return tile_function<N, M - 1>(pixels);
  return nullptr;
}

// A row of outputs in tiles as equal as they can be: 16 pixels are 8 + 8, not 12 + 4.
template <int N>
void convolve_row(const ConvolutionSweep& sweep, const float* source, const float* weights,
                  int64_t offset, int64_t channel) {
  const int64_t tiles = (sweep.columns + kTileRows - 1) / kTileRows;
  const int64_t least = sweep.columns / tiles, larger = sweep.columns % tiles;
  const TileFunction small = tile_function<N>(least);
  const TileFunction large = larger == 0 ? small : tile_function<N>(least + 1);
  int64_t column = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    (tile < larger ? large : small)(sweep, source + column * sweep.column_step, weights,
                                    offset + column * sweep.y_column_step, channel);
    column += tile < larger ? least + 1 : least;
  }
}

void convolve(const ConvolutionSweep& sweep) {
  if (sweep.columns <= 0) return;
  for (int64_t channel = 0; channel < sweep.channels; channel += 2 * kLanes) {
    const float* const weights = sweep.weights + channel / kLanes * sweep.panel;
    const bool two = sweep.channels - channel > kLanes;
    for (int64_t row = 0; row < sweep.rows; ++row) {
      (two ? convolve_row<2> : convolve_row<1>)(sweep, sweep.source + row * sweep.row_step, weights,
                                                row * sweep.y_row_step, channel);
    }
  }
}

}  // namespace
}  // namespace secateur
