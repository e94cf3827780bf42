#include "linear_algebra/product.h"

#include <cstddef>

#include "cpu_features.h"

namespace secateur {

namespace {

template <int Lanes>
struct Doubles;
template <>
struct Doubles<2> {
  typedef double Vector __attribute__((vector_size(16)));
};
template <>
struct Doubles<4> {
  typedef double Vector __attribute__((vector_size(32)));
};
template <>
struct Doubles<8> {
  typedef double Vector __attribute__((vector_size(64)));
};

// Accumulators of one tile: 4 rows of two vectors.
constexpr int64_t kTileRows = 4;

// What follows is compiled for several instruction sets, so it must be part of its callers.
// memcpy, because these addresses are aligned to their numbers only.
template <class Vector>
[[gnu::always_inline]] inline void load(const double* from, Vector& to) {
  __builtin_memcpy(&to, from, sizeof to);
}

template <int Lanes>
[[gnu::always_inline]] inline void subtract_tile(const Product& p, int64_t row, int64_t column) {
  using Vector = typename Doubles<Lanes>::Vector;
  const double* const left = p.left + row * p.left_stride;
  Vector sums[kTileRows][2] = {};
  for (int64_t k = 0; k < p.depth; ++k) {
    const double* const right = p.right + k * p.right_stride + column;
    Vector first, second;
    load(right, first);
    load(right + Lanes, second);
#pragma GCC unroll 4
    for (int64_t r = 0; r < kTileRows; ++r) {
      const double factor = left[r * p.left_stride + k];
      sums[r][0] += factor * first;
      sums[r][1] += factor * second;
    }
  }
#pragma GCC unroll 4
  for (int64_t r = 0; r < kTileRows; ++r) {
    double* const target = p.target + (row + r) * p.target_stride + column;
#pragma GCC unroll 2
    for (int64_t v = 0; v < 2; ++v) {
      Vector value;
      load(target + Lanes * v, value);
      value -= sums[r][v];
      __builtin_memcpy(target + Lanes * v, &value, sizeof value);
    }
  }
}

[[gnu::always_inline]] inline void subtract_edge(const Product& p, int64_t row, int64_t column) {
  double sum = 0;
  for (int64_t k = 0; k < p.depth; ++k) {
    sum += p.left[row * p.left_stride + k] * p.right[k * p.right_stride + column];
  }
  p.target[row * p.target_stride + column] -= sum;
}

template <int Lanes>
[[gnu::always_inline]] inline void subtract_body(const Product& p) {
  constexpr int64_t kTileColumns = 2 * Lanes;
  const int64_t tiled_rows = p.rows / kTileRows * kTileRows;
  const int64_t tiled_columns = p.columns / kTileColumns * kTileColumns;
  for (int64_t column = 0; column < tiled_columns; column += kTileColumns) {
    for (int64_t row = 0; row < tiled_rows; row += kTileRows) {
      subtract_tile<Lanes>(p, row, column);
    }
  }
  for (int64_t row = 0; row < p.rows; ++row) {
    const int64_t first = row < tiled_rows ? tiled_columns : 0;
    for (int64_t column = first; column < p.columns; ++column) subtract_edge(p, row, column);
  }
}

void subtract_portable(const Product& p) { subtract_body<2>(p); }
[[gnu::target("avx2,fma")]] void subtract_avx2(const Product& p) { subtract_body<4>(p); }
[[gnu::target("avx512f,fma")]] void subtract_avx512(const Product& p) { subtract_body<8>(p); }

}  // namespace

std::vector<double> transposed(const double* from, int64_t stride, int64_t rows, int64_t columns) {
  std::vector<double> result(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) result[c * rows + r] = from[r * stride + c];
  }
  return result;
}

SubtractProduct subtract_product() {
  const CpuFeatures features = cpu_features();
  if (features.avx512) return subtract_avx512;
  return features.avx2 ? subtract_avx2 : subtract_portable;
}

}  // namespace secateur
