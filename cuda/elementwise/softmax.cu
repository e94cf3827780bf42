// Softmax over the channels of each pixel, and its gradient: a warp for each pixel.

#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace softmax {

template <class T>
__global__ void __launch_bounds__(kWarp) forward_kernel(const T* x, T* y, int channels) {
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * channels;
  float largest = to_float(x[first]);
  for (int c = lane; c < channels; c += kWarp) largest = fmaxf(largest, to_float(x[first + c]));
  largest = warp_largest(largest);
  double sum = 0;
  for (int c = lane; c < channels; c += kWarp) {
    sum += static_cast<double>(expf(to_float(x[first + c]) - largest));
  }
  const auto share = static_cast<float>(1 / warp_sum(sum));
  for (int c = lane; c < channels; c += kWarp) {
    y[first + c] = stored<T>(expf(to_float(x[first + c]) - largest) * share);
  }
}

template <class T>
__global__ void __launch_bounds__(kWarp)
    backward_kernel(const T* dy, const T* y, T* dx, int channels) {
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * channels;
  double own = 0;
  for (int c = lane; c < channels; c += kWarp) {
    own += static_cast<double>(to_float(dy[first + c])) * static_cast<double>(to_float(y[first + c]));
  }
  const auto sum = static_cast<float>(warp_sum(own));
  for (int c = lane; c < channels; c += kWarp) {
    dx[first + c] = stored<T>(to_float(y[first + c]) * (to_float(dy[first + c]) - sum));
  }
}

KernelPointer make(const Call& call, bool backward) {
  const Extents extents = call.input_extents(0);
  const auto channels = static_cast<int>(extents.channels);
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      const Grid grid{{blocks_for(s.images * extents.pixels(), 1)}, {kWarp}};
      if (backward) {
        launch(s.stream, grid, backward_kernel<T>, as<T>(s.inputs[0]), as<T>(s.inputs[1]),
               as<T>(s.outputs[0]), channels);
      } else {
        launch(s.stream, grid, forward_kernel<T>, as<T>(s.inputs[0]), as<T>(s.outputs[0]),
               channels);
      }
    });
  });
}

}  // namespace softmax

KernelPointer softmax_kernel(const Call& call) { return softmax::make(call, false); }
KernelPointer softmax_backward_kernel(const Call& call) { return softmax::make(call, true); }

}  // namespace secateur::cuda
