#include "linear_algebra/cholesky.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <string>

#include "cpu_features.h"
#include "error.h"

namespace secateur {

namespace {

constexpr int64_t kBlock = 64;
constexpr int64_t kPanel = 16;  // columns of a block whose rows are finished one by one

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

// target[rows, columns] -= left[rows, depth] * right[depth, columns]; row-major with strides.
struct Product {
  double* target;
  const double* left;
  const double* right;
  int64_t target_stride, left_stride, right_stride;
  int64_t rows, columns, depth;
};

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

using Subtract = void (*)(const Product&);

Subtract best_subtract() {
  const CpuFeatures features = cpu_features();
  if (features.avx512) return subtract_avx512;
  return features.avx2 ? subtract_avx2 : subtract_portable;
}

class Solver {
 public:
  Solver(double* a, int64_t n, double* x, int64_t m) : a_(a), x_(x), n_(n), m_(m) {}

  // A becomes L in its lower triangle, A = L L^T.
  void factorise() {
    std::vector<double> diagonal(static_cast<size_t>(n_));
    for (int64_t i = 0; i < n_; ++i) diagonal[i] = a_[i * n_ + i];
    for (int64_t first = 0; first < n_; first += kBlock) {
      const int64_t size = std::min(kBlock, n_ - first), next = first + size;
      factorise_block(first, next, diagonal);
      if (next == n_) return;
      factorise_panel(first, next);
      // The panel transposed, so that the trailing update runs along rows.
      std::vector<double> transposed = transpose(next, first, n_ - next, size);
      for (int64_t row = next; row < n_; row += kBlock) {
        const int64_t rows = std::min(kBlock, n_ - row);
        subtract_({a_ + row * n_ + next, a_ + row * n_ + first, transposed.data(), n_, n_,
                   n_ - next, rows, row + rows - next, size});
      }
    }
  }

  // X becomes L^-T L^-1 X.
  void substitute() {
    for (int64_t first = 0; first < n_; first += kBlock) {
      const int64_t size = std::min(kBlock, n_ - first), next = first + size;
      for (int64_t i = first; i < next; ++i) {
        for (int64_t k = first; k < i; ++k) axpy(i, k, a_[i * n_ + k]);
        scale(i, 1 / a_[i * n_ + i]);
      }
      subtract_({x_ + next * m_, a_ + next * n_ + first, x_ + first * m_, m_, n_, m_, n_ - next, m_,
                 size});
    }
    for (int64_t first = (n_ - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
      const int64_t size = std::min(kBlock, n_ - first), next = first + size;
      for (int64_t i = next - 1; i >= first; --i) {
        for (int64_t k = i + 1; k < next; ++k) axpy(i, k, a_[k * n_ + i]);
        scale(i, 1 / a_[i * n_ + i]);
      }
      const std::vector<double> transposed = transpose(first, 0, size, first);
      subtract_({x_, transposed.data(), x_ + first * m_, m_, size, m_, first, m_, size});
    }
  }

 private:
  void factorise_block(int64_t first, int64_t next, const std::vector<double>& diagonal) {
    for (int64_t j = first; j < next; ++j) {
      double* const row = a_ + j * n_;
      for (int64_t k = first; k < j; ++k) row[j] -= row[k] * row[k];
      const double least = static_cast<double>(n_) * DBL_EPSILON * std::abs(diagonal[j]);
      if (!(row[j] > least) || !std::isfinite(row[j])) {
        throw Error("numeric-failure", "Expected a positive definite matrix of " +
                                           std::to_string(n_) + " unknowns, but pivot " +
                                           std::to_string(j) + " is " + std::to_string(row[j]) +
                                           "; use more samples or a larger ridge.");
      }
      row[j] = std::sqrt(row[j]);
      for (int64_t i = j + 1; i < next; ++i) divide(i, j, first);
    }
  }

  void factorise_panel(int64_t first, int64_t next) {
    for (int64_t column = first; column < next; column += kPanel) {
      const int64_t end = std::min(column + kPanel, next);
      const std::vector<double> transposed = transpose(column, first, end - column, column - first);
      subtract_({a_ + next * n_ + column, a_ + next * n_ + first, transposed.data(), n_, n_,
                 end - column, n_ - next, end - column, column - first});
      for (int64_t i = next; i < n_; ++i) {
        for (int64_t j = column; j < end; ++j) divide(i, j, column);
      }
    }
  }

  // L[i, j] from A[i, j], the columns from `first` on not yet accounted for.
  void divide(int64_t i, int64_t j, int64_t first) {
    double* const row = a_ + i * n_;
    const double* const pivot_row = a_ + j * n_;
    double value = row[j];
    for (int64_t k = first; k < j; ++k) value -= row[k] * pivot_row[k];
    row[j] = value / pivot_row[j];
  }

  std::vector<double> transpose(int64_t row, int64_t column, int64_t rows, int64_t columns) const {
    std::vector<double> result(static_cast<size_t>(rows * columns));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        result[c * rows + r] = a_[(row + r) * n_ + column + c];
      }
    }
    return result;
  }

  void axpy(int64_t to, int64_t from, double factor) {
    for (int64_t c = 0; c < m_; ++c) x_[to * m_ + c] -= factor * x_[from * m_ + c];
  }

  void scale(int64_t row, double factor) {
    for (int64_t c = 0; c < m_; ++c) x_[row * m_ + c] *= factor;
  }

  double* a_;
  double* x_;
  int64_t n_, m_;
  Subtract subtract_ = best_subtract();
};

}  // namespace

void cholesky_solve(std::vector<double>& gram, std::vector<double>& rhs, int64_t n, int64_t m,
                    double ridge) {
  constexpr int64_t kLargest = int64_t{1} << 20;
  if (n < 1 || m < 1 || n > kLargest || m > kLargest ||
      gram.size() != static_cast<size_t>(n * n) || rhs.size() != static_cast<size_t>(n * m)) {
    throw Error("program-invalid", "Expected a gram matrix [n, n] and right-hand sides [n, m] for n = " +
                                       std::to_string(n) + " and m = " + std::to_string(m) +
                                       ", found " + std::to_string(gram.size()) + " and " +
                                       std::to_string(rhs.size()) + " numbers.");
  }
  if (!(ridge >= 0) || !std::isfinite(ridge)) {
    throw Error("option-invalid", "Expected a ridge of 0 or more.");
  }
  double trace = 0;
  for (int64_t i = 0; i < n; ++i) trace += gram[i * n + i];
  for (int64_t i = 0; i < n; ++i) gram[i * n + i] += ridge * trace / static_cast<double>(n);
  Solver solver(gram.data(), n, rhs.data(), m);
  solver.factorise();
  solver.substitute();
}

}  // namespace secateur
