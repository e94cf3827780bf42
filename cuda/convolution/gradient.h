// What the kernels of weight gradients share.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "convolution/geometry.h"

namespace secateur::cuda::gradient {

struct Arguments {
  Geometry geometry;  // forward
  int64_t pixels;     // of the slice
  int64_t chunk;      // pixels
  const void *x, *dy;
  float* partial;  // [chunk][group][row][output]
};

// Fills `partial` on tensor cores, from x and dy that are both bf16 or both f32.
void run_on_tensor_cores(cudaStream_t stream, const Arguments& a, int64_t chunks, bool bf16);

}  // namespace secateur::cuda::gradient
