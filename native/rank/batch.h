// Ranks of a batch: `Lanes` matrices at a time are gathered into vectors, bidiagonalised, counted.
#pragma once

#include <cfloat>

#include "rank/bidiagonal.h"
#include "rank/kernels.h"
#include "rank/sturm.h"

namespace secateur::rank_kernels {
namespace {

// Copies `used` matrices from number `first` on into lanes (the other lanes are zero) and stores
// (first column)^T A in `products`. Returns a vector that is NaN in the lanes that hold a NaN or an
// infinity, else 0.
template <int Lanes>
Real<Lanes> gather(const Batch& batch, int64_t first, int used, Rows<Lanes> a,
                   Real<Lanes>* products) {
  constexpr int kAhead = 16;  // vectors: the time it takes to bring a line from L2
  const float* origin = batch.data + first * batch.matrix_stride;
  const bool adjacent = used == Lanes && batch.matrix_stride == 1;
  for (int c = 0; c < batch.cols; ++c) products[c] = Real<Lanes>{};
  for (int r = 0; r < batch.rows; ++r) {
    const float* row = origin + r * batch.row_stride;
    const int64_t to_next = r + 1 < batch.rows ? batch.row_stride : 0;
    Real<Lanes>* to = a[r];
    for (int c = 0; c < batch.cols; ++c) {
      const float* element = row + c * batch.column_stride;
      Single<Lanes> values = {};
      if (adjacent) {
        std::memcpy(&values, element, sizeof(values));
      } else {
        for (int lane = 0; lane < used; ++lane) values[lane] = element[lane * batch.matrix_stride];
      }
      __builtin_prefetch(element + to_next);
      fetch<Lanes>(to + c + kAhead);
      const Real<Lanes> wide = widen(values);
      to[c] = wide;
      products[c] += to[0] * wide;
    }
  }
  // Squares and products of finite f32 are finite in f64, so what is not came from the matrix.
  Real<Lanes> poison = {};
  for (int c = 0; c < batch.cols; ++c) poison += products[c] * 0;
  return poison;
}

template <int Lanes>
void ranks_in_lanes(const Batch& batch, int32_t* ranks, void* scratch) {
  const int cols = batch.cols;
  const Rows<Lanes> a = {static_cast<Real<Lanes>*>(scratch), row_stride(cols)};
  Real<Lanes>* const beside = a[batch.rows];
  const Squares<Lanes> squares = {beside, beside + cols};
  const WorkRows<Lanes> work = {squares.upper + cols, squares.upper + 2 * int64_t{cols},
                                squares.upper + 3 * int64_t{cols}};
  const double tolerance = batch.rows * static_cast<double>(FLT_EPSILON);
  for (int64_t first = 0; first < batch.count; first += Lanes) {
    const int64_t left = batch.count - first;
    const int used = left < Lanes ? static_cast<int>(left) : Lanes;
    const Real<Lanes> poison = gather<Lanes>(batch, first, used, a, work.products);
    bidiagonalise<Lanes>(a, batch.rows, cols, squares, work);
    const Bidiagonal<Lanes> reduced = {squares.diagonal, squares.upper, cols};
    const Real<Lanes> found = count_significant<Lanes>(reduced, tolerance);
    for (int lane = 0; lane < used; ++lane) {
      ranks[first + lane] = poison[lane] == 0 ? static_cast<int32_t>(found[lane]) : -1;
    }
  }
}

}  // namespace
}  // namespace secateur::rank_kernels
