// Products of two tiles in exact f32, which the blocks of matrix products sum along their depth.
#pragma once

#include <cuda_runtime.h>

namespace secateur::cuda {

constexpr int kTileRows = 64, kTileColumns = 64, kTileDepth = 16;
constexpr int kTileThreads = 256;  // of a block
constexpr int kTileEach = 4;       // rows and columns that one thread sums

struct Tiles {
  float left[kTileDepth][kTileRows + kTileEach];  // padded against bank conflicts
  float right[kTileDepth][kTileColumns];
};

// What one thread sums: the square of a tile's result that begins at `row` and `column`.
struct TileSums {
  int row, column;
  float values[kTileEach][kTileEach] = {};

  __device__ __forceinline__ explicit TileSums(int thread)
      : row(thread / (kTileColumns / kTileEach) * kTileEach),
        column(thread % (kTileColumns / kTileEach) * kTileEach) {}

  __device__ __forceinline__ void add_products(const Tiles& tiles) {
#pragma unroll
    for (int depth = 0; depth < kTileDepth; ++depth) {
      for (int i = 0; i < kTileEach; ++i) {
        const float left = tiles.left[depth][row + i];
        for (int j = 0; j < kTileEach; ++j) {
          values[i][j] = fmaf(left, tiles.right[depth][column + j], values[i][j]);
        }
      }
    }
  }
};

}  // namespace secateur::cuda
