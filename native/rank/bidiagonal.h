// Householder bidiagonalisation (Golub & Kahan, 1965) of one matrix per lane.
//
// A textbook step reads the matrix four times. Here a step reads it once: while a row is brought up
// to date, its share of the products which the next column's reflector needs is added up (that
// reflector differs from the column itself in its first element only, corrected afterwards). Rows
// go in blocks that stay in the L1 cache from the first look at them to the second; eight 32 x 32
// matrices (64 KB) as a whole do not.
#pragma once

#include <algorithm>

#include "rank/lanes.h"

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

// Rows of `Lanes` matrices in scratch, `stride` vectors apart.
template <int Lanes>
struct Rows {
  Real<Lanes>* first;
  int64_t stride;
  Real<Lanes>* operator[](int64_t i) const { return first + i * stride; }
  Rows from(int64_t i) const { return {first + i * stride, stride}; }
};

// What the matrices are reduced to: squares of the diagonal and, right of it, the superdiagonal.
template <int Lanes>
struct Squares {
  Real<Lanes>*diagonal, *upper;
};

// A step's row vectors. Before the step, `products` holds (first column left)^T A; it leaves the
// same for the next column.
template <int Lanes>
struct WorkRows {
  Real<Lanes>*left, *right, *products;
};

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

// Both reflectors of the step that eliminates `row`, its first element and `width` more, and the
// column below it. Stores the squared superdiagonal element in `upper` and zeroes the products.
template <int Lanes>
Step<Lanes> begin_step(const Real<Lanes>* row, int width, const WorkRows<Lanes>& work,
                       Real<Lanes>& upper) {
  constexpr int kChains = 4;  // sums that do not wait for each other
  const auto& [left, right, products] = work;
  const Reflector<Lanes> column = reflector<Lanes>(products[0], row[0]);
  const Real<Lanes> v0 = row[0] + column.shift;
  Real<Lanes> squares[kChains] = {}, overlaps[kChains] = {};
  const auto apply = [&](int j, int chain) {
    const Real<Lanes> element = row[1 + j];
    const Real<Lanes> w = column.scale * (products[1 + j] + column.shift * element);
    const Real<Lanes> u = element - v0 * w;
    squares[chain] += u * u;
    overlaps[chain] += w * u;
    left[j] = w;
    right[j] = u;
    products[j] = Real<Lanes>{};
  };
  int j = 0;
  for (; j + kChains <= width; j += kChains) {
    for (int chain = 0; chain < kChains; ++chain) apply(j + chain, chain);
  }
  for (; j < width; ++j) apply(j, 0);
  upper = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  const Real<Lanes> overlap = (overlaps[0] + overlaps[1]) + (overlaps[2] + overlaps[3]);
  const Reflector<Lanes> across = reflector<Lanes>(upper, right[0]);
  right[0] += across.shift;
  return {width, left, right, across.scale, overlap + left[0] * across.shift, products};
}

// Applies both reflectors to `Count` rows (element 0 of a row is its element of v) and adds up
// their share of the next column's products. With `Fetch`, asks meanwhile for as many rows from
// `next` on.
template <int Lanes, int Count, bool Fetch>
inline void update_rows(const Step<Lanes>& step, Rows<Lanes> rows, Rows<Lanes> next) {
  Real<Lanes> v[Count], z[Count], column[Count];
  for (int r = 0; r < Count; ++r) {
    v[r] = rows[r][0];
    z[r] = v[r] * -step.overlap;
  }
  for (int j = 0; j < step.width; ++j) {
    const Real<Lanes> u = step.right[j];
    for (int r = 0; r < Count; ++r) z[r] += rows[r][1 + j] * u;
  }
  for (int r = 0; r < Count; ++r) {
    z[r] *= step.right_scale;
    column[r] = rows[r][1] - v[r] * step.left[0] - z[r] * step.right[0];
  }
  // The next column's squared length must come from the very elements stored, or its reflector is
  // not orthogonal when cancellation has left only noise there.
  for (int r = 0; r < Count; ++r) {
    rows[r][1] = column[r];
    step.products[0] += column[r] * column[r];
  }
  for (int j = 1; j < step.width; ++j) {
    const Real<Lanes> w = step.left[j], u = step.right[j];
    Real<Lanes> product = step.products[j];
    for (int r = 0; r < Count; ++r) {
      if constexpr (Fetch) fetch<Lanes>(next[r] + 1 + j);
      Real<Lanes>& element = rows[r][1 + j];
      element = element - v[r] * w - z[r] * u;
      product += column[r] * element;
    }
    step.products[j] = product;
  }
}

// update_rows for `count` rows, fewer than `Bound`.
template <int Lanes, int Bound>
inline void update_few(const Step<Lanes>& step, Rows<Lanes> rows, int count) {
  if constexpr (Bound > 1) {
    if (count == Bound - 1) return update_rows<Lanes, Bound - 1, false>(step, rows, rows);
    update_few<Lanes, Bound - 1>(step, rows, count);
  }
}

// update_rows for `count` rows, `Block` at a time, from the last block to the first if `backwards`.
template <int Lanes, int Block, bool Fetch>
void update_blocks(const Step<Lanes>& step, Rows<Lanes> rows, int count, bool backwards) {
  const int few = count % Block, last = count - Block;
  const Rows<Lanes> rest = rows.from(count - few);
  if (backwards) update_few<Lanes, Block>(step, rest, few);
  const int first = backwards ? last - few : 0, by = backwards ? -Block : Block;
  for (int left = count / Block, i = first; left > 0; --left, i += by) {
    const Rows<Lanes> next = rows.from(std::clamp(i + by, 0, last));
    update_rows<Lanes, Block, Fetch>(step, rows.from(i), next);
  }
  if (!backwards) update_few<Lanes, Block>(step, rest, few);
}

// update_rows for all `count` rows, as many at a time as fit the registers and, together with the
// next block and the three row vectors, the L1 cache.
template <int Lanes>
void update_all(const Step<Lanes>& step, Rows<Lanes> rows, int count, bool backwards) {
  if constexpr (Lanes == 8) {  // of 32 registers, otherwise there are 16
    constexpr int kCacheLines = 48 * 1024 / 64;
    if (step.width * (2 * 8 + 3) <= kCacheLines) {
      return update_blocks<Lanes, 8, true>(step, rows, count, backwards);
    }
    if (step.width * (2 * 4 + 3) <= kCacheLines) {
      return update_blocks<Lanes, 4, true>(step, rows, count, backwards);
    }
  }
  update_blocks<Lanes, 4, false>(step, rows, count, backwards);
}

// Reduces the matrix `a` (`height` rows of `width` vectors, height >= width, overwritten) to an
// upper bidiagonal one with the same singular values and stores the squares of its elements
// (`upper[i]` right of `diagonal[i]`; the last is 0). `work.products` holds (first column)^T A.
//
// Every other step goes backwards, so that it begins with the rows that the step before it left in
// the cache.
template <int Lanes>
void bidiagonalise(Rows<Lanes> a, int height, int width, const Squares<Lanes>& result,
                   const WorkRows<Lanes>& work) {
  for (int k = 0; k < width; ++k) {
    const int right = width - 1 - k;
    result.diagonal[k] = work.products[0];
    result.upper[k] = Real<Lanes>{};
    if (right == 0) break;
    const Step<Lanes> step = begin_step<Lanes>(a[k] + k, right, work, result.upper[k]);
    const Rows<Lanes> below = {a[k + 1] + k, a.stride};
    update_all<Lanes>(step, below, height - 1 - k, k % 2 == 1);
  }
}

}  // namespace
}  // namespace secateur::rank_kernels
