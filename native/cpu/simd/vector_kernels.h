// The inner loops of the portable CPU kernels, compiled once per instruction set (simd_avx512.cpp,
// simd_avx2.cpp, simd_generic.cpp) and chosen when kernels are built.
#pragma once

#include <cstdint>

#include "bfloat16.h"
#include "program/shapes/convolution_shape.h"
#include "program/shapes/window.h"

namespace secateur {

// A stretch of taps that lies contiguously in the source and in the packed weights.
struct Run {
  int64_t source;  // floats from the output pixel's first source pixel
  int64_t row;     // first row of the packed weights
  int64_t length;
};

// A grid of outputs that share their taps: y(r, c) = sum over runs of source(r, c) * weights.
struct ConvolutionSweep {
  const float* source;
  int64_t row_step, column_step;  // floats between the source pixels of neighbouring outputs
  const Run* runs;
  int64_t run_count;
  const float* weights;  // [vectors of output channels][row][lane]
  int64_t panel;         // floats between vectors of output channels
  int64_t rows, columns, channels;
  void* y;
  bool y_bf16;
  int64_t y_row_step, y_column_step;  // elements
  const float* bias;                  // or nullptr
  const void* residual;               // y's type and steps, or nullptr
  bool relu;
};

// Output rows [first_row, last_row) of one picture with one filter per channel, weights [vectors of
// channels][tap][lane]. Transposed: from y's gradient to x's; strides and padding are then those of
// the convolution, and the filters are mirrored.
struct DepthwiseSweep {
  const void* x;
  bool x_bf16, transposed;
  int64_t in_height, in_width, out_width, channels;
  int64_t kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width;
  int64_t pad_top, pad_left;  // may be negative
  const float* weights;
  void* y;  // the whole picture's
  bool y_bf16;
  const float* bias;     // or nullptr
  const void* residual;  // y's type, or nullptr
  bool relu;
  int64_t first_row, last_row;
};

// sums[m][n] += sum over images, rows, columns of a(image, row, column)[m] * b(...)[n].
template <class T>
struct OuterSweep {
  const T* a;
  int64_t a_image_step, a_row_step, a_column_step;
  const T* b;
  int64_t b_image_step, b_row_step, b_column_step;
  int64_t images, rows, columns;
  int64_t m, n;  // n is a multiple of the lanes of T
  T* sums;
  int64_t sums_step;
};

// The same for one filter per channel: sums[tap][channel] += a at the tap * b, channel by channel.
struct DepthwiseOuterSweep {
  const float* a;
  int64_t a_row_step, a_column_step;
  const int64_t* offsets;
  int64_t tap_count;
  const float* b;
  int64_t b_row_step, b_column_step;
  int64_t rows, columns, channels;  // channels is a multiple of the lanes
  float* sums;
};

// A flat stretch of NHWC elements, all f32 or all bf16, with tables that repeat every `period`.
struct ChannelSweep {
  bool bf16;
  int64_t elements, period;
  const void* x;
  const void* second;  // residual, dy or the other addend
  const void* output;  // the layer's own output, for the mask of relu; or nullptr
  void* y;
  void* dresidual;  // or nullptr
  const float* table[4];
  double* sums[2];  // [period]
  bool relu;
};

struct PoolSweep : Window {
  bool bf16;
};

struct VectorKernels {
  int64_t lanes;  // floats in a vector
  void (*convolve)(const ConvolutionSweep&);
  void (*convolve_depthwise)(const DepthwiseSweep&);
  void (*accumulate)(const OuterSweep<float>&);
  void (*accumulate_f64)(const OuterSweep<double>&);
  void (*accumulate_depthwise)(const DepthwiseOuterSweep&);

  void (*widen)(const bfloat16* from, int64_t count, float* to);
  void (*narrow)(const float* from, int64_t count, bfloat16* to);

  // y = relu?(x + second).
  void (*add)(const ChannelSweep&);
  void (*relu)(const ChannelSweep&);
  // y = second where output > 0.
  void (*relu_backward)(const ChannelSweep&);
  // y = x * table 0.
  void (*multiply)(const ChannelSweep&);
  // sums 0 += x.
  void (*column_sums)(const ChannelSweep&);
  // sums 0 += x - table 0, sums 1 += its square.
  void (*moments)(const ChannelSweep&);
  // y = relu?((x - table 0) * table 1 + table 2 + second).
  void (*normalise)(const ChannelSweep&);
  // dz = second where output > 0; sums 0 += dz, sums 1 += dz * (x - table 0).
  void (*normalise_backward_sums)(const ChannelSweep&);
  // y = dz * table 1 + (x - table 0) * table 2 + table 3; dresidual = dz.
  void (*normalise_backward)(const ChannelSweep&);

  // One image each. winners may be nullptr.
  void (*max_pool)(const PoolSweep&, const void* x, void* y, int32_t* winners);
  void (*average_pool)(const PoolSweep&, const void* x, void* y);
};

// The widest this processor has and SECATEUR_ISA allows.
const VectorKernels& vector_kernels();

}  // namespace secateur
