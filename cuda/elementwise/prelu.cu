// Leaky ReLU with a learned slope per channel (He et al., arXiv 1502.01852), and its gradients.

#include "device/channel_sums.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace prelu {

// y of x, or dx of dy: `signs` is x either way.
template <class T>
struct Map {
  const T *from, *signs;
  const float* slope;
  T* to;
  int64_t channels;
  __device__ void operator()(int64_t i) const {
    const float value = to_float(from[i]);
    to[i] = stored<T>(to_float(signs[i]) < 0 ? value * slope[i % channels] : value);
  }
};

template <class T>
struct SlopeGradient {
  const T *dy, *x;
  int64_t channels;
  __device__ void operator()(int64_t pixel, int64_t channel, double& sum, double&) const {
    const int64_t at = pixel * channels + channel;
    const float value = to_float(x[at]);
    if (value < 0) sum += static_cast<double>(to_float(dy[at])) * static_cast<double>(value);
  }
};

KernelPointer make(const Call& call, bool backward) {
  const Extents extents = call.input_extents(0);
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * extents.elements(),
               Map<T>{as<T>(s.inputs[0]), as<T>(s.inputs[backward ? 1 : 0]),
                      as<float>(s.inputs[backward ? 2 : 1]), as<T>(s.outputs[0]),
                      extents.channels});
    });
  });
}

}  // namespace prelu

KernelPointer prelu_kernel(const Call& call) { return prelu::make(call, false); }
KernelPointer prelu_backward_kernel(const Call& call) { return prelu::make(call, true); }

KernelPointer prelu_backward_slope_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return channel_sums(extents, call.entry.slice, [=](const Slice& s) {
      return prelu::SlopeGradient<T>{as<T>(s.inputs[0]), as<T>(s.inputs[1]), extents.channels};
    });
  });
}

}  // namespace secateur::cuda
