// The arithmetic of winograd.cpp: F(4x4, 3x3) and its gradient F(3x3, 4x4), in f32, sixteen channels
// at a time, with the points 0, 1, -1, 2, -2 and infinity.
// A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
//
// A tile is 6x6 inputs; in the transformed domain it has 36 elements, each of which is a matrix
// product over channels. Buffers hold f32 with channels padded to a multiple of 16 by zeros.
// Compiled for AVX-512 alone: to be called only where cpu_features() has it.
#pragma once

#include <cstdint>

namespace secateur::winograd {

constexpr int64_t kElements = 36;
constexpr int64_t kTile = 4;  // outputs in a row of a tile

// Image values of a tensor, f32 or bf16, NHWC.
struct Image {
  void* values;
  bool bf16;
  int64_t height, width, channels;
};

// Copies `image` to [rows, columns, padded channels], its first pixel at (top, left), zeros around.
void pad_image(float* padded, int64_t rows, int64_t columns, int64_t top, int64_t left,
               const Image& image);

// A matrix of rows of channels, sixteen channels in a plane: [channel / 16][row][channel % 16].
struct Planes {
  float* values;
  int64_t plane;  // floats

  // Never linked from the AVX-512 file into others.
  [[gnu::always_inline]] inline Planes at(int64_t channel, int64_t row) const {
    return {values + channel / 16 * plane + row * 16, plane};
  }
};

// Row 0 of `elements`, and element_stride on the next of the 36, for the 6x6 pixels at `pixels`.
void transform_input(const Planes& elements, int64_t element_stride, const float* pixels,
                     int64_t row_stride, int64_t channels);

// The same for the 4x4 pixels at `pixels`, as the filter of the gradient.
void transform_gradient(const Planes& elements, int64_t element_stride, const float* pixels,
                        int64_t row_stride, int64_t channels);

// c[row, column] = sum over p < depth of a[row, p] b[p, column]; rows a multiple of 8, columns of 16.
void multiply(const Planes& c, const Planes& a, const Planes& b, int64_t rows, int64_t columns,
              int64_t depth);

// c[row, column] = sum over p < depth of a[p, row] b[p, column], or adds it to what is there.
void correlate(const Planes& c, const Planes& a, const Planes& b, int64_t rows, int64_t columns,
               int64_t depth, bool add);

// What follows the products of a convolution.
struct Epilogue {
  const float* bias;      // padded to a multiple of 16; nullptr where absent
  const Image* residual;  // nullptr where absent
  bool relu;
};

// Writes the 4x4 outputs at (row, column), or as many of them as lie within `image`.
void transform_output(const Image& image, int64_t row, int64_t column, const Planes& elements,
                      int64_t element_stride, const Epilogue& epilogue);

// weights[9, channels] from elements[e * element_stride + channel].
void transform_weights_gradient(float* weights, int64_t weight_stride, const float* elements,
                                int64_t element_stride, int64_t channels);

// elements[e * element_stride + lane] from 16 filters weights[9, 16], rounded to bf16 first if asked.
void transform_weights(float* elements, int64_t element_stride, const float* weights, bool bf16);

}  // namespace secateur::winograd
