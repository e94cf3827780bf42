// Products of two values, as squeeze-and-excitation takes them, and their gradients.

#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace multiply {

// Element by element, or every pixel of an image times the same numbers.
template <class T>
struct Product {
  const T *a, *b;
  T* y;
  int64_t elements, channels;  // of an image
  bool by_channel;
  __device__ void operator()(int64_t i) const {
    const int64_t other = by_channel ? i / elements * channels + i % channels : i;
    y[i] = stored<T>(to_float(a[i]) * to_float(b[other]));
  }
};

// Sums over the pixels of an image: a warp for each image and channel, lanes in a fixed tree.
template <class T>
__global__ void __launch_bounds__(kWarp)
    backward_kernel(const T* dy, const T* x, T* dx, int64_t pixels, int channels) {
  const int64_t image = blockIdx.x / channels, channel = blockIdx.x % channels;
  double sum = 0;
  for (int64_t pixel = threadIdx.x; pixel < pixels; pixel += kWarp) {
    const int64_t at = (image * pixels + pixel) * channels + channel;
    sum += static_cast<double>(to_float(dy[at])) * static_cast<double>(to_float(x[at]));
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) dx[image * channels + channel] = stored<T>(static_cast<float>(sum));
}

}  // namespace multiply

KernelPointer multiply_kernel(const Call& call) {
  const Extents extents = call.input_extents(0), factors = call.input_extents(1);
  const bool by_channel = factors.pixels() == 1 && extents.pixels() > 1;
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * extents.elements(),
               multiply::Product<T>{as<T>(s.inputs[0]), as<T>(s.inputs[1]), as<T>(s.outputs[0]),
                                    extents.elements(), extents.channels, by_channel});
    });
  });
}

KernelPointer multiply_backward_kernel(const Call& call) {
  const Extents extents = call.input_extents(1);
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      launch(s.stream, {{blocks_for(s.images * extents.channels, 1)}, {kWarp}},
             multiply::backward_kernel<T>, as<T>(s.inputs[0]), as<T>(s.inputs[1]),
             as<T>(s.outputs[0]), extents.pixels(), static_cast<int>(extents.channels));
    });
  });
}

}  // namespace secateur::cuda
