// Ranks of a batch: `Lanes` matrices at a time are gathered into vectors, bidiagonalised, counted.
#pragma once

#include <cfloat>

#include "bidiagonal.h"
#include "kernels.h"
#include "sturm.h"

namespace secateur::rank_kernels {
namespace {

// Copies `used` matrices from number `first` on into lanes (the other lanes are zero). Returns a
// vector that is NaN in the lanes that hold a NaN or an infinity, else 0.
template <int Lanes>
Real<Lanes> gather(const Batch& batch, int64_t first, int used, Real<Lanes>* a) {
  Real<Lanes> poison = {};
  const float* origin = batch.data + first * batch.matrix_stride;
  const bool adjacent = used == Lanes && batch.matrix_stride == 1;
  for (int r = 0; r < batch.rows; ++r) {
    const float* row = origin + r * batch.row_stride;
    for (int c = 0; c < batch.cols; ++c, ++a) {
      const float* element = row + c * batch.column_stride;
      Single<Lanes> values = {};
      if (adjacent) {
        std::memcpy(&values, element, sizeof(values));
      } else {
        for (int lane = 0; lane < used; ++lane) values[lane] = element[lane * batch.matrix_stride];
      }
      const Real<Lanes> wide = __builtin_convertvector(values, Real<Lanes>);
      poison += wide * 0;
      *a = wide;
    }
  }
  return poison;
}

template <int Lanes>
void ranks_in_lanes(const Batch& batch, int32_t* ranks, void* scratch) {
  Real<Lanes>* a = static_cast<Real<Lanes>*>(scratch);
  const int cols = batch.cols;
  Real<Lanes>* diagonal = a + static_cast<int64_t>(batch.rows) * cols;
  Real<Lanes>* upper = diagonal + cols;
  Real<Lanes>* work = upper + cols;
  const double tolerance = batch.rows * static_cast<double>(FLT_EPSILON);
  for (int64_t first = 0; first < batch.count; first += Lanes) {
    const int64_t left = batch.count - first;
    const int used = left < Lanes ? static_cast<int>(left) : Lanes;
    const Real<Lanes> poison = gather<Lanes>(batch, first, used, a);
    bidiagonalise<Lanes>(a, batch.rows, cols, diagonal, upper, work);
    const Real<Lanes> found = count_significant<Lanes>({diagonal, upper, cols}, tolerance);
    for (int lane = 0; lane < used; ++lane) {
      ranks[first + lane] = poison[lane] == 0 ? static_cast<int32_t>(found[lane]) : -1;
    }
  }
}

}  // namespace
}  // namespace secateur::rank_kernels
