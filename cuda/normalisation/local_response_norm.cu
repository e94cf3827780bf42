// Normalisation by the channels around each (Krizhevsky et al., NIPS 2012), and its gradient: a
// thread for every element, which sums its window anew.

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace local_response_norm {

struct Reach {
  int channels, before, after;
  float share, beta, bias;  // share: alpha / size

  // bias + alpha / size * the sum of squares around channel c of a pixel.
  template <class T>
  __device__ float base(const T* x, int c) const {
    const int first = c < before ? 0 : c - before;
    const int last = channels - 1 - c < after ? channels - 1 : c + after;
    float sum = 0;
    for (int j = first; j <= last; ++j) {
      const float value = to_float(x[j]);
      sum = fmaf(value, value, sum);
    }
    return fmaf(share, sum, bias);
  }
};

template <class T>
struct Forward {
  Reach reach;
  const T* x;
  T* y;
  __device__ void operator()(int64_t i) const {
    const int c = static_cast<int>(i % reach.channels);
    y[i] = stored<T>(to_float(x[i]) * powf(reach.base(x + i - c, c), -reach.beta));
  }
};

template <class T>
struct Backward {
  Reach reach;
  const T *dy, *x;
  T* dx;
  __device__ void operator()(int64_t i) const {
    const int c = static_cast<int>(i % reach.channels);
    const T *const gradients = dy + i - c, *const values = x + i - c;
    // Channel c is in the window of those from c - after to c + before.
    const int first = c < reach.after ? 0 : c - reach.after;
    const int last =
        reach.channels - 1 - c < reach.before ? reach.channels - 1 : c + reach.before;
    float sum = 0;
    for (int j = first; j <= last; ++j) {
      const float base = reach.base(values, j);
      sum += to_float(gradients[j]) * powf(base, -reach.beta) * to_float(values[j]) / base;
    }
    const float direct = to_float(gradients[c]) * powf(reach.base(values, c), -reach.beta);
    dx[i] = stored<T>(direct - 2 * reach.share * reach.beta * to_float(values[c]) * sum);
  }
};

KernelPointer make(const Call& call, bool backward) {
  const Extents extents = call.input_extents(0);
  const auto size = static_cast<int>(call.integer(0));
  const Reach reach{static_cast<int>(extents.channels), (size - 1) / 2,
                    size - 1 - (size - 1) / 2, call.real(0) / static_cast<float>(size),
                    call.real(1), call.real(2)};
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      const int64_t count = s.images * extents.elements();
      if (backward) {
        for_each(s.stream, count,
                 Backward<T>{reach, as<T>(s.inputs[0]), as<T>(s.inputs[1]), as<T>(s.outputs[0])});
      } else {
        for_each(s.stream, count, Forward<T>{reach, as<T>(s.inputs[0]), as<T>(s.outputs[0])});
      }
    });
  });
}

}  // namespace local_response_norm

KernelPointer local_response_norm_kernel(const Call& call) {
  return local_response_norm::make(call, false);
}
KernelPointer local_response_norm_backward_kernel(const Call& call) {
  return local_response_norm::make(call, true);
}

}  // namespace secateur::cuda
