// A convolution, or its transpose, as its kernels see it: every result pixel is a sum over taps of
// source pixels.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "program/shapes/convolution_shape.h"

namespace secateur::cuda {

struct Geometry {
  int source_height, source_width, source_channels;
  int result_height, result_width, result_channels;
  int kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
  int dilation_height, dilation_width, groups;
  bool backward;  // from y's gradient to x's

  static Geometry of(const ConvolutionShape& s, bool backward) {
    const auto number = [](int64_t value) { return static_cast<int>(value); };
    const int64_t in[] = {s.in_height, s.in_width, s.in_channels};
    const int64_t out[] = {s.out_height, s.out_width, s.out_channels};
    const int64_t* const source = backward ? out : in;
    const int64_t* const result = backward ? in : out;
    return {number(source[0]),        number(source[1]),       number(source[2]),
            number(result[0]),        number(result[1]),       number(result[2]),
            number(s.kernel_height),  number(s.kernel_width),  number(s.stride_height),
            number(s.stride_width),   number(s.pad_top),       number(s.pad_left),
            number(s.dilation_height), number(s.dilation_width), number(s.groups), backward};
  }

  __host__ __device__ int64_t result_pixels() const {
    return static_cast<int64_t>(result_height) * result_width;
  }
  __host__ __device__ int taps() const { return kernel_height * kernel_width; }
  __host__ __device__ int group_sources() const { return source_channels / groups; }
  __host__ __device__ int group_results() const { return result_channels / groups; }

  // The source pixel, within its image, that result pixel (row, column) reads through a tap; -1
  // where there is none.
  __device__ __forceinline__ int64_t source_pixel(int row, int column, int tap) const {
    return source_pixel(row, column, tap / kernel_width, tap % kernel_width);
  }

  __device__ __forceinline__ int64_t source_pixel(int row, int column, int tap_row,
                                                  int tap_column) const {
    const int i = axis(row, tap_row, stride_height, pad_top, dilation_height, source_height);
    const int j = axis(column, tap_column, stride_width, pad_left, dilation_width, source_width);
    return i < 0 || j < 0 ? -1 : static_cast<int64_t>(i) * source_width + j;
  }

 private:
  __device__ __forceinline__ int axis(int at, int k, int stride, int pad, int dilation,
                                      int extent) const {
    const int shifted = backward ? at + pad - k * dilation : at * stride - pad + k * dilation;
    if (backward && (shifted < 0 || shifted % stride != 0)) return -1;
    const int source = backward ? shifted / stride : shifted;
    return source < 0 || source >= extent ? -1 : source;
  }
};

}  // namespace secateur::cuda
