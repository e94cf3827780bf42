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

void stop_if(const std::atomic<bool>& cancelled) {
  if (cancelled.load(std::memory_order_relaxed)) throw Error("cancelled", "Stopped as asked.");
}

CholeskyFactor::CholeskyFactor(double* a, int64_t n, const std::atomic<bool>& cancelled)
    : a_(a), n_(n), cancelled_(cancelled), subtract_(subtract_product()) {
  std::vector<double> diagonal(static_cast<size_t>(n_));
  for (int64_t i = 0; i < n_; ++i) diagonal[i] = a_[i * n_ + i];
  for (int64_t first = 0; first < n_; first += kBlock) {
    stop_if(cancelled_);
    const int64_t size = std::min(kBlock, n_ - first), next = first + size;
    factorise_block(first, next, diagonal);
    if (next == n_) return;
    factorise_panel(first, next);
    // The panel transposed, so that the trailing update runs along rows.
    const auto panel = transposed(a_ + next * n_ + first, n_, n_ - next, size);
    for (int64_t row = next; row < n_; row += kBlock) {
      const int64_t rows = std::min(kBlock, n_ - row);
      subtract_({a_ + row * n_ + next, a_ + row * n_ + first, panel.data(), n_, n_,
                 n_ - next, rows, row + rows - next, size});
    }
  }
}

void CholeskyFactor::forward(double* x, int64_t m) const {
  for (int64_t first = 0; first < n_; first += kBlock) {
    stop_if(cancelled_);
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
    stop_if(cancelled_);
    const int64_t size = std::min(kBlock, n_ - first), next = first + size;
    for (int64_t i = next - 1; i >= first; --i) {
      for (int64_t k = i + 1; k < next; ++k) axpy(x, m, i, k, a_[k * n_ + i]);
      scale(x, m, i, 1 / a_[i * n_ + i]);
    }
    const auto rows = transposed(a_ + first * n_, n_, size, first);
    subtract_({x, rows.data(), x + first * m, m, size, m, first, m, size});
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
    const auto columns = transposed(a_ + column * n_ + first, n_, end - column, column - first);
    subtract_({a_ + next * n_ + column, a_ + next * n_ + first, columns.data(), n_, n_,
               end - column, n_ - next, end - column, column - first});
    for (int64_t i = next; i < n_; ++i) {
      for (int64_t j = column; j < end; ++j) divide(i, j, column);
    }
  }
}

void CholeskyFactor::divide(int64_t i, int64_t j, int64_t first) {
  double* const row = a_ + i * n_;
  const double* const pivot_row = a_ + j * n_;
  double value = row[j];
  for (int64_t k = first; k < j; ++k) value -= row[k] * pivot_row[k];
  row[j] = value / pivot_row[j];
}

void cholesky_solve(std::vector<double>& gram, std::vector<double>& rhs, int64_t n, int64_t m,
                    double ridge, const std::atomic<bool>& cancelled) {
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
  const CholeskyFactor factor(gram.data(), n, cancelled);
  factor.forward(rhs.data(), m);
  factor.backward(rhs.data(), m);
}

}  // namespace secateur
