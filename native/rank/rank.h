// Numerical rank of batches of small f32 matrices, on the CPU.
#pragma once

#include <cstddef>
#include <cstdint>

namespace secateur {

// The same algorithm on two, four or eight matrices at a time.
enum class RankKernel { portable, avx2, avx512 };

// The widest that cpu_features() allows. Ask once where many calls follow.
RankKernel best_rank_kernel();

// Bytes of scratch that numerical_ranks needs for matrices of this shape, whatever the kernel; 0
// when the shape is refused (a side below 1, or more than 2^32 elements).
size_t rank_scratch_bytes(int rows, int cols);

// Numerical rank of `count` f32 matrices: the number of singular values above
// max(rows, cols) * eps(f32) * (largest singular value), as NumPy and PyTorch count for f32.
//
// Element (r, c) of matrix m is data[m * matrix_stride + r * row_stride + c * column_stride];
// strides are in elements. For the maps of one NHWC image m is the channel, and the strides are
// 1, W * C and C. ranks[m] is -1 when matrix m holds a NaN or an infinity, 0 when it is zero.
//
// All arithmetic is f64. f32 would not do: for 4 x 4 the tolerance is 4 eps(f32), which is what
// f32 rounding itself leaves. A matrix's rank does not depend on which others share the call, so
// callers may split `count` over threads, each with its own scratch, aligned to 64 bytes. The
// thread's floating-point mode is the standard's meanwhile. A shape that rank_scratch_bytes refuses
// gives -1.
void numerical_ranks(const float* data, int64_t count, int rows, int cols, int64_t matrix_stride,
                     int64_t row_stride, int64_t column_stride, int32_t* ranks, void* scratch,
                     RankKernel kernel = best_rank_kernel());

}  // namespace secateur
