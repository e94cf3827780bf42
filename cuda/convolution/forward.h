// What the kernels of convolutions and their gradients of the data share.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "convolution/geometry.h"
#include "convolution/pack.h"
#include "device/number.h"

namespace secateur::cuda::forward {

struct Arguments {
  Geometry geometry;
  int64_t pixels;  // of all images
  const void* source;
  const void* packed;
  const float* bias;     // or nullptr
  const void* residual;  // or nullptr
  void* result;
  bool relu, source_bf16, result_bf16;
};

// relu?(sum + bias + residual). A NaN stays one.
__device__ __forceinline__ float finished(float sum, float bias, float residual, bool relu) {
  sum += bias;
  sum += residual;
  return relu && sum < 0 ? 0 : sum;
}

// Stores a sum, finished with a residual of the result's type.
template <class R>
__device__ __forceinline__ void finish(const Arguments& a, int64_t pixel, int channel, float sum) {
  const int64_t at = pixel * a.geometry.result_channels + channel;
  const float bias = a.bias == nullptr ? 0 : a.bias[channel];
  const float residual = a.residual == nullptr ? 0 : to_float(static_cast<const R*>(a.residual)[at]);
  static_cast<R*>(a.result)[at] = stored<R>(finished(sum, bias, residual, a.relu));
}

// On tensor cores; sources are of the form's type.
void run_on_tensor_cores(cudaStream_t stream, const Arguments& a, PackedForm::Kind kind);

}  // namespace secateur::cuda::forward
