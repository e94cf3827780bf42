// Least squares by the normal equations, in f64.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "linear_algebra/product.h"

namespace secateur {

// Throws Error("cancelled") where `cancelled` is set.
void stop_if(const std::atomic<bool>& cancelled);

// A = L L^T by a blocked Cholesky factorisation (Golub & Van Loan, Matrix Computations, 4.2). All of
// it throws Error("cancelled") soon after `cancelled` is set.
class CholeskyFactor {
 public:
  // `a` [n, n], row-major, and `cancelled` must outlive this; a's lower triangle becomes L, the rest
  // is not read.
  // Throws Error("numeric-failure") when A is not positive definite to working precision.
  CholeskyFactor(double* a, int64_t n, const std::atomic<bool>& cancelled);

  // x [n, m] becomes L^-1 x.
  void forward(double* x, int64_t m) const;
  // x [n, m] becomes L^-T x.
  void backward(double* x, int64_t m) const;

 private:
  void factorise_block(int64_t first, int64_t next, const std::vector<double>& diagonal);
  void factorise_panel(int64_t first, int64_t next);
  // L[i, j] from A[i, j], the columns from `first` on not yet accounted for.
  void divide(int64_t i, int64_t j, int64_t first);

  double* a_;
  int64_t n_;
  const std::atomic<bool>& cancelled_;
  SubtractProduct subtract_;
};

// Solves (gram + ridge * mean(diagonal of gram) * I) X = rhs for X. `gram` [n, n] is symmetric, its
// lower triangle is read; it is destroyed. `rhs` [n, m] becomes X. Both row-major.
//
// Throws Error("program-invalid") when sizes do not fit, Error("numeric-failure") when the matrix
// is not positive definite to working precision, Error("cancelled") soon after `cancelled` is set.
void cholesky_solve(std::vector<double>& gram, std::vector<double>& rhs, int64_t n, int64_t m,
                    double ridge, const std::atomic<bool>& cancelled);

}  // namespace secateur
