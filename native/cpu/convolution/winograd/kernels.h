// The arithmetic of winograd.cpp: F(4x4, 3x3) and its gradient F(3x3, 4x4), in f32, sixteen channels
// at a time, with the points 0, 1, -1, 2, -2 and infinity.
// A. Lavin and S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.
//
// A tile is 6x6 inputs; in the transformed domain it has 36 elements, each of which is a matrix
// product over channels. Compiled for AVX-512 alone: to be called only where cpu_features() has it.
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

// Transformed tiles: [channel / 16][tile][36][channel % 16], zeros past the last channel. A tile's
// elements lie together, for transforms write and read them in one stream, in few pages.
struct Tiles {
  float* values;
  int64_t plane;  // floats

  static constexpr int64_t kFloats = kElements * 16;

  // Never linked from the AVX-512 files into others.
  [[gnu::always_inline]] inline Tiles at(int64_t channel, int64_t tile) const {
    return {values + channel / 16 * plane + tile * kFloats, plane};
  }
};

// Tile 0 of `tiles` from the 6x6 pixels whose first is at (row, column), zeros around the image.
void transform_input(const Tiles& tiles, const Image& image, int64_t row, int64_t column);

// The same for 4x4 pixels, as the filter of the gradient. Element 7 is their sum.
void transform_gradient(const Tiles& tiles, const Image& image, int64_t row, int64_t column);
constexpr int64_t kSumElement = 7;

// results[tile, o] = bias[o] + sum over i < in of sources[tile, i] weights[i, o] in the transformed
// domain: weights[36][o / 16][in][o % 16]. Computes tiles up to a multiple of 8 and outputs up to a
// multiple of 16, both of which must have room; bias, of as many outputs, may be nullptr.
struct Product {
  int64_t tiles, in, out;
};
void multiply(const Tiles& results, const Tiles& sources, const float* weights, const float* bias,
              const Product& size);

// products[36][o / 16][in][o % 16] = sum over tiles of sources[tile, i] results[tile, o], or adds it
// to what is there.
void correlate(float* products, const Tiles& sources, const Tiles& results, const Product& size,
               bool add);

// What follows the products of a convolution.
struct Epilogue {
  const Image* residual;  // nullptr where absent
  bool relu;
};

// Writes the 4x4 outputs at (row, column) from tile 0 of `tiles`, or as many of them as lie within
// `image`.
using OutputTransform = void(const Image& image, int64_t row, int64_t column, const Tiles& tiles,
                             const Epilogue& epilogue);
// By the types of the outputs and of the residual; the second needs cpu_features().avx512_bf16.
OutputTransform* output_transform_avx512(bool result_bf16, bool added_bf16);
OutputTransform* output_transform_avx512_bf16(bool result_bf16, bool added_bf16);

// weights[9, channels] from elements[e * element_stride + channel].
void transform_weights_gradient(float* weights, int64_t weight_stride, const float* elements,
                                int64_t element_stride, int64_t channels);

// elements[e * element_stride + lane] from 16 filters weights[9, 16], rounded to bf16 first if asked.
void transform_weights(float* elements, int64_t element_stride, const float* weights, bool bf16);

}  // namespace secateur::winograd
