// The per-instruction-set entry points behind numerical_ranks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace secateur::rank_kernels {

// Lanes of the widest kernel; scratch is sized for it.
constexpr int kMostLanes = 8;

// Vectors of scratch beside the matrices: squared diagonal and superdiagonal, and three work rows.
constexpr int kScratchRows = 5;

// Vectors from one row of a matrix in scratch to the next: an odd multiple of four. Rows a power of
// two apart would share few cache sets and low address bits, and loads would wait for stores.
constexpr int64_t row_stride(int cols) { return (int64_t{cols} + 3) / 4 * 4 | 4; }

// A batch with rows >= cols (a wide matrix is handed over transposed).
struct Batch {
  const float* data;
  int64_t count;
  int rows, cols;
  int64_t matrix_stride, row_stride, column_stride;
};

void ranks_portable(const Batch& batch, int32_t* ranks, void* scratch);
void ranks_avx2(const Batch& batch, int32_t* ranks, void* scratch);
void ranks_avx512(const Batch& batch, int32_t* ranks, void* scratch);

}  // namespace secateur::rank_kernels
