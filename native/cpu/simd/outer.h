// Sums of outer products: weight gradients in f32, normal equations in f64.
// Included by the simd_*.cpp files; see simd.h.
#pragma once

#include "cpu/simd/simd.h"

namespace secateur {
namespace {

SECATEUR_INLINE Floats read_vector(const float* at) { return *reinterpret_cast<const FloatsAt*>(at); }
SECATEUR_INLINE Doubles read_vector(const double* at) {
  return *reinterpret_cast<const DoublesAt*>(at);
}
SECATEUR_INLINE void add_to(float* at, Floats value) { *reinterpret_cast<FloatsAt*>(at) += value; }
SECATEUR_INLINE void add_to(double* at, Doubles value) { *reinterpret_cast<DoublesAt*>(at) += value; }

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef Floats Type;
};
template <>
struct VectorOf<double> {
  typedef Doubles Type;
};

template <class T, int M, int N>
void accumulate_tile(const OuterSweep<T>& sweep, const T* a, const T* b, T* sums) {
  typedef typename VectorOf<T>::Type Vector;
  constexpr int kCount = sizeof(Vector) / sizeof(T);
  Vector total[M][N] = {};
  const int64_t a_step = sweep.a_column_step, b_step = sweep.b_column_step;
  int64_t image = 0, row = 0;
  for (int64_t line = 0; line < sweep.images * sweep.rows; ++line) {
    const T* left = a + image * sweep.a_image_step + row * sweep.a_row_step;
    const T* right = b + image * sweep.b_image_step + row * sweep.b_row_step;
    if (++row == sweep.rows) {
      row = 0;
      ++image;
    }
    for (int64_t column = 0; column < sweep.columns; ++column) {
      Vector vector[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) vector[n] = read_vector(right + n * kCount);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const T value = left[m];
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) total[m][n] += value * vector[n];
      }
      left += a_step;
      right += b_step;
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) add_to(sums + m * sweep.sums_step + n * kCount, total[m][n]);
  }
}

template <class T>
struct OuterTile {
  typedef void (*Function)(const OuterSweep<T>&, const T*, const T*, T*);
};

template <class T, int N, int M = kTileRows>
typename OuterTile<T>::Function outer_tile(int64_t rows) {
  if (rows == M) return accumulate_tile<T, M, N>;
  if constexpr (M > 1) return outer_tile<T, N, M - 1>(rows);
  return nullptr;
}

template <class T>
void accumulate(const OuterSweep<T>& sweep) {
  constexpr int64_t kCount = sizeof(typename VectorOf<T>::Type) / sizeof(T);
  if (sweep.m <= 0) return;
  const int64_t tiles = (sweep.m + kTileRows - 1) / kTileRows;
  const int64_t least = sweep.m / tiles, larger = sweep.m % tiles;
  for (int64_t n = 0; n < sweep.n; n += 2 * kCount) {
    const bool two = sweep.n - n > kCount;
    int64_t m = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t rows = tile < larger ? least + 1 : least;
      const auto function = two ? outer_tile<T, 2>(rows) : outer_tile<T, 1>(rows);
      function(sweep, sweep.a + m, sweep.b + n, sweep.sums + m * sweep.sums_step + n);
      m += rows;
    }
  }
}

// T taps from `tap` on, for one vector of channels: dy is read once for all of them.
template <int T>
void accumulate_taps(const DepthwiseOuterSweep& sweep, int64_t tap, int64_t channel) {
  Floats totals[T] = {};
  for (int64_t row = 0; row < sweep.rows; ++row) {
    const float* const line = sweep.a + row * sweep.a_row_step + channel;
    const float* b = sweep.b + row * sweep.b_row_step + channel;
    const float* a[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) a[t] = line + sweep.offsets[tap + t];
    for (int64_t column = 0; column < sweep.columns; ++column) {
      const Floats gradient = read<Floats>(b);
      const int64_t at = column * sweep.a_column_step;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) totals[t] += read<Floats>(a[t] + at) * gradient;
      b += sweep.b_column_step;
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    add_to(sweep.sums + (tap + t) * sweep.channels + channel, totals[t]);
  }
}

typedef void (*TapsFunction)(const DepthwiseOuterSweep&, int64_t, int64_t);
constexpr int kTapsTogether = 8;

template <int T = kTapsTogether>
TapsFunction taps_function(int64_t taps) {
  if (taps == T) return accumulate_taps<T>;
  if constexpr (T > 1) return taps_function<T - 1>(taps);
  return nullptr;
}

void accumulate_depthwise(const DepthwiseOuterSweep& sweep) {
  // As equal as they can be: 9 taps are 5 + 4.
  const int64_t groups = (sweep.tap_count + kTapsTogether - 1) / kTapsTogether;
  for (int64_t channel = 0; channel < sweep.channels; channel += kLanes) {
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t first = sweep.tap_count * group / groups;
      const int64_t last = sweep.tap_count * (group + 1) / groups;
      taps_function(last - first)(sweep, first, channel);
    }
  }
}

}  // namespace
}  // namespace secateur
