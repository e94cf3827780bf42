#include "linear_algebra/cholesky.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <string>

#include "error.h"
#include "linear_algebra/product.h"

namespace secateur {

namespace {

constexpr int64_t kBlock = 64;
constexpr int64_t kPanel = 16;  // columns of a block whose rows are finished one by one

void axpy(double* x, int64_t m, int64_t to, int64_t from, double factor) {
  for (int64_t c = 0; c < m; ++c) x[to * m + c] -= factor * x[from * m + c];
}

void scale(double* x, int64_t m, int64_t row, double factor) {
  for (int64_t c = 0; c < m; ++c) x[row * m + c] *= factor;
}

}  // namespace

CholeskyFactor::CholeskyFactor(double* a, int64_t n)
    : a_(a), n_(n), subtract_(subtract_product()) {
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

void CholeskyFactor::forward(double* x, int64_t m) const {
  for (int64_t first = 0; first < n_; first += kBlock) {
    const int64_t size = std::min(kBlock, n_ - first), next = first + size;
    for (int64_t i = first; i < next; ++i) {
      for (int64_t k = first; k < i; ++k) axpy(x, m, i, k, a_[i * n_ + k]);
      scale(x, m, i, 1 / a_[i * n_ + i]);
    }
    subtract_({x + next * m, a_ + next * n_ + first, x + first * m, m, n_, m, n_ - next, m,
               size});
  }
}

void CholeskyFactor::backward(double* x, int64_t m) const {
  for (int64_t first = (n_ - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
    const int64_t size = std::min(kBlock, n_ - first), next = first + size;
    for (int64_t i = next - 1; i >= first; --i) {
      for (int64_t k = i + 1; k < next; ++k) axpy(x, m, i, k, a_[k * n_ + i]);
      scale(x, m, i, 1 / a_[i * n_ + i]);
    }
    const std::vector<double> transposed = transpose(first, 0, size, first);
    subtract_({x, transposed.data(), x + first * m, m, size, m, first, m, size});
  }
}

void CholeskyFactor::factorise_block(int64_t first, int64_t next,
                                     const std::vector<double>& diagonal) {
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

void CholeskyFactor::factorise_panel(int64_t first, int64_t next) {
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
void CholeskyFactor::divide(int64_t i, int64_t j, int64_t first) {
  double* const row = a_ + i * n_;
  const double* const pivot_row = a_ + j * n_;
  double value = row[j];
  for (int64_t k = first; k < j; ++k) value -= row[k] * pivot_row[k];
  row[j] = value / pivot_row[j];
}

std::vector<double> CholeskyFactor::transpose(int64_t row, int64_t column, int64_t rows,
                                              int64_t columns) const {
  std::vector<double> result(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      result[c * rows + r] = a_[(row + r) * n_ + column + c];
    }
  }
  return result;
}

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
  const CholeskyFactor factor(gram.data(), n);
  factor.forward(rhs.data(), m);
  factor.backward(rhs.data(), m);
}

}  // namespace secateur
