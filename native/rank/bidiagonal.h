// Householder bidiagonalisation (Golub & Kahan, 1965) of one matrix per lane.
//
// A textbook step reads the matrix four times. Here a step reads it once: while a row is brought up
// to date, its share of the products which the next column's reflector needs is added up (that
// reflector differs from the column itself in its first element only, corrected afterwards).
#pragma once

#include "lanes.h"

namespace secateur::rank_kernels {
namespace {

// What a reflector I - scale * v v^T needs to annihilate all of a vector but its first element:
// v is the vector with `shift` added to its first element.
template <int Lanes>
struct Reflector {
  Real<Lanes> shift, scale;
};

// Squared lengths up to here count as zero: rounding noise left of dependent rows and columns
// shrinks by eps(f64) every step, until its squares would underflow and reflectors cease to be
// orthogonal. The matrix is f32, so unless it is zero its largest singular value is at least
// 1.4e-45, some 10^20 times the length neglected here.
constexpr double kNegligible = 1e-130;

// From the vector's squared length and first element. A negligible vector gives the identity.
template <int Lanes>
inline Reflector<Lanes> reflector(Real<Lanes> squared_length, Real<Lanes> first) {
  const Real<Lanes> length = square_root(squared_length);
  const Real<Lanes> product = squared_length + length * magnitude<Lanes>(first);
  const Real<Lanes> zero = {};
  return {with_sign<Lanes>(length, first), squared_length > kNegligible ? 1 / product : zero};
}

// The state of a step, column indices counted from the first column that is left.
template <int Lanes>
struct Step {
  int width;                 // columns right of the one being eliminated
  const Real<Lanes>* left;   // scale * (v^T A), the row that the left reflector subtracts v times
  const Real<Lanes>* right;  // u of the right reflector
  Real<Lanes> right_scale;
  Real<Lanes> overlap;    // left . right
  Real<Lanes>* products;  // out: (next column)^T A
};

// Applies both reflectors to `Rows` rows (element 0 of a row is its element of v) and adds up their
// share of the next column's products.
template <int Lanes, int Rows>
inline void update_rows(const Step<Lanes>& step, Real<Lanes>* first_row, int64_t stride) {
  Real<Lanes> v[Rows], z[Rows], next[Rows];
  for (int r = 0; r < Rows; ++r) {
    v[r] = first_row[r * stride];
    z[r] = v[r] * -step.overlap;
  }
  for (int j = 0; j < step.width; ++j) {
    const Real<Lanes> u = step.right[j];
    for (int r = 0; r < Rows; ++r) z[r] += first_row[r * stride + 1 + j] * u;
  }
  for (int r = 0; r < Rows; ++r) {
    z[r] *= step.right_scale;
    next[r] = first_row[r * stride + 1] - v[r] * step.left[0] - z[r] * step.right[0];
  }
  // The next column's squared length must come from the very elements stored, or its reflector is
  // not orthogonal when cancellation has left only noise there.
  for (int r = 0; r < Rows; ++r) {
    first_row[r * stride + 1] = next[r];
    step.products[0] += next[r] * next[r];
  }
  for (int j = 1; j < step.width; ++j) {
    const Real<Lanes> w = step.left[j], u = step.right[j];
    Real<Lanes> product = step.products[j];
    for (int r = 0; r < Rows; ++r) {
      Real<Lanes>& element = first_row[r * stride + 1 + j];
      element = element - v[r] * w - z[r] * u;
      product += next[r] * element;
    }
    step.products[j] = product;
  }
}

// Reduces the rows x cols matrix `a` (row-major, rows >= cols, overwritten) to an upper bidiagonal
// one with the same singular values and stores the squares of its diagonal and superdiagonal
// (`upper[i]` right of `diagonal[i]`; the last is 0). `work` holds three rows of cols vectors.
template <int Lanes>
void bidiagonalise(Real<Lanes>* a, int rows, int cols, Real<Lanes>* diagonal, Real<Lanes>* upper,
                   Real<Lanes>* work) {
  constexpr int kRowsAtOnce = Lanes == 8 ? 4 : 2;  // what fits the registers
  const Real<Lanes> zero = {};
  Real<Lanes>* left = work;
  Real<Lanes>* right = work + cols;
  Real<Lanes>* products = work + 2 * static_cast<int64_t>(cols);
  for (int j = 0; j < cols; ++j) products[j] = zero;
  for (int i = 0; i < rows; ++i) {
    const Real<Lanes>* row = a + static_cast<int64_t>(i) * cols;
    for (int j = 0; j < cols; ++j) products[j] += row[0] * row[j];
  }
  for (int k = 0; k < cols; ++k) {
    Real<Lanes>* corner = a + static_cast<int64_t>(k) * cols + k;
    const int width = cols - 1 - k;
    diagonal[k] = products[0];
    upper[k] = zero;
    if (width == 0) break;

    const Reflector<Lanes> column = reflector<Lanes>(products[0], corner[0]);
    const Real<Lanes> v0 = corner[0] + column.shift;
    for (int j = 0; j < width; ++j) {
      left[j] = column.scale * (products[1 + j] + column.shift * corner[1 + j]);
      right[j] = corner[1 + j] - v0 * left[j];
      upper[k] += right[j] * right[j];
    }
    const Reflector<Lanes> row = reflector<Lanes>(upper[k], right[0]);
    right[0] += row.shift;
    Real<Lanes> overlap = zero;
    for (int j = 0; j < width; ++j) {
      overlap += left[j] * right[j];
      products[j] = zero;
    }

    const Step<Lanes> step = {width, left, right, row.scale, overlap, products};
    int below = rows - 1 - k;
    Real<Lanes>* next_row = corner + cols;
    for (; below >= kRowsAtOnce; below -= kRowsAtOnce, next_row += kRowsAtOnce * cols) {
      update_rows<Lanes, kRowsAtOnce>(step, next_row, cols);
    }
    for (; below > 0; --below, next_row += cols) update_rows<Lanes, 1>(step, next_row, cols);
  }
}

}  // namespace
}  // namespace secateur::rank_kernels
