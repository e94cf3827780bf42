// Normalisation over the channels of each pixel (Ba et al., arXiv 1607.06450), and its gradients.

#include "device/block.h"
#include "device/channel_sums.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace layer_norm {

struct Moments {
  double mean, inverse;

  template <class T>
  __device__ float standardised(const T* x, int64_t at) const {
    return static_cast<float>((static_cast<double>(to_float(x[at])) - mean) * inverse);
  }
};

// The same for all lanes.
template <class T>
__device__ __forceinline__ Moments moments_of(const T* pixel, int channels, double epsilon) {
  const int lane = static_cast<int>(threadIdx.x);
  double sum = 0, squares = 0;
  for (int c = lane; c < channels; c += kWarp) sum += static_cast<double>(to_float(pixel[c]));
  const double mean = warp_sum(sum) / channels;
  for (int c = lane; c < channels; c += kWarp) {
    const double distance = static_cast<double>(to_float(pixel[c])) - mean;
    squares = fma(distance, distance, squares);
  }
  return {mean, 1 / sqrt(warp_sum(squares) / channels + epsilon)};
}

// A warp for each pixel.
template <class T>
__global__ void __launch_bounds__(kWarp)
    forward_kernel(const T* x, const float* scale, const float* offset, T* y, int channels,
                   double epsilon) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * channels;
  const Moments moments = moments_of(x + first, channels, epsilon);
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += kWarp) {
    y[first + c] = stored<T>(fmaf(moments.standardised(x, first + c), scale[c], offset[c]));
  }
}

template <class T>
__global__ void __launch_bounds__(kWarp)
    backward_kernel(const T* dy, const T* x, const float* scale, T* dx, int channels,
                    double epsilon) {
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * channels;
  const Moments moments = moments_of(x + first, channels, epsilon);
  double sum = 0, projection = 0;
  for (int c = lane; c < channels; c += kWarp) {
    const auto pull = static_cast<double>(to_float(dy[first + c]) * scale[c]);
    sum += pull;
    projection = fma(pull, static_cast<double>(moments.standardised(x, first + c)), projection);
  }
  const auto centre = static_cast<float>(warp_sum(sum) / channels);
  const auto along = static_cast<float>(warp_sum(projection) / channels);
  const auto inverse = static_cast<float>(moments.inverse);
  for (int c = lane; c < channels; c += kWarp) {
    const float pull = to_float(dy[first + c]) * scale[c];
    const float xhat = moments.standardised(x, first + c);
    dx[first + c] = stored<T>(inverse * (pull - centre - xhat * along));
  }
}

// Mean and inverse deviation of each pixel: [pixel] Moments.
template <class T>
__global__ void __launch_bounds__(kWarp)
    moments_kernel(const T* x, Moments* moments, int channels, double epsilon) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * channels;
  const Moments own = moments_of(x + first, channels, epsilon);
  if (threadIdx.x == 0) moments[blockIdx.x] = own;
}

template <class T>
struct ParameterGradients {
  const T *dy, *x;
  const Moments* moments;
  int64_t channels;
  __device__ void operator()(int64_t pixel, int64_t channel, double& dscale,
                             double& doffset) const {
    const int64_t at = pixel * channels + channel;
    const auto gradient = static_cast<double>(to_float(dy[at]));
    dscale += gradient * static_cast<double>(moments[pixel].standardised(x, at));
    doffset += gradient;
  }
};

KernelPointer make(const Call& call, bool backward) {
  const Extents extents = call.input_extents(0);
  const auto channels = static_cast<int>(extents.channels);
  const double epsilon = call.instruction.floats[0];
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      const Grid grid{{blocks_for(s.images * extents.pixels(), 1)}, {kWarp}};
      if (backward) {
        launch(s.stream, grid, backward_kernel<T>, as<T>(s.inputs[0]), as<T>(s.inputs[1]),
               as<float>(s.inputs[2]), as<T>(s.outputs[0]), channels, epsilon);
      } else {
        launch(s.stream, grid, forward_kernel<T>, as<T>(s.inputs[0]), as<float>(s.inputs[1]),
               as<float>(s.inputs[2]), as<T>(s.outputs[0]), channels, epsilon);
      }
    });
  });
}

// Finds every pixel's moments first, in scratch.
template <class T>
struct MakeGradients {
  Extents extents;
  double epsilon;

  ParameterGradients<T> operator()(const Slice& s) const {
    auto* const moments = static_cast<Moments*>(s.scratch);
    launch(s.stream, {{blocks_for(s.images * extents.pixels(), 1)}, {kWarp}}, moments_kernel<T>,
           as<T>(s.inputs[1]), moments, static_cast<int>(extents.channels), epsilon);
    return {as<T>(s.inputs[0]), as<T>(s.inputs[1]), moments, extents.channels};
  }
  int64_t scratch_bytes(int64_t slice) const {
    return slice * extents.pixels() * static_cast<int64_t>(sizeof(Moments));
  }
};

}  // namespace layer_norm

KernelPointer layer_norm_kernel(const Call& call) { return layer_norm::make(call, false); }
KernelPointer layer_norm_backward_kernel(const Call& call) { return layer_norm::make(call, true); }

KernelPointer layer_norm_backward_parameters_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  const double epsilon = call.instruction.floats[0];
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    const layer_norm::MakeGradients<decltype(number)> make{extents, epsilon};
    return channel_sums(extents, call.entry.slice, make, make.scratch_bytes(call.entry.slice));
  });
}

}  // namespace secateur::cuda
