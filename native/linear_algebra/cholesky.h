// Least squares by the normal equations, in f64.
#pragma once

#include <cstdint>
#include <vector>

namespace secateur {

// Solves (gram + ridge * mean(diagonal of gram) * I) X = rhs for X, by a blocked Cholesky
// factorisation (Golub & Van Loan, Matrix Computations, 4.2). `gram` [n, n] is symmetric, its lower
// triangle is read; it is destroyed. `rhs` [n, m] becomes X. Both row-major.
//
// Throws Error("program-invalid") when sizes do not fit, Error("numeric-failure") when the matrix
// is not positive definite to working precision.
void cholesky_solve(std::vector<double>& gram, std::vector<double>& rhs, int64_t n, int64_t m,
                    double ridge);

}  // namespace secateur
