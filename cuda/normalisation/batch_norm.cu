// Batch norm image by image: apply and its gradient with batch statistics, inference with running
// ones.

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace batch_norm {

// y = relu?((x - mean) * factor + offset + residual).
template <class T>
struct Normalise {
  const T* x;
  const float *mean, *spread, *scale, *offset;  // spread: inverse deviation, or variance
  const T* residual;                            // or nullptr
  T* y;
  int64_t channels;
  bool relu, inference;
  double epsilon;

  __device__ void operator()(int64_t i) const {
    const int64_t c = i % channels;
    const float factor =
        inference ? static_cast<float>(static_cast<double>(scale[c]) /
                                       sqrt(static_cast<double>(spread[c]) + epsilon))
                  : scale[c] * spread[c];
    float value = fmaf(to_float(x[i]) - mean[c], factor, offset[c]);
    if (residual != nullptr) value += to_float(residual[i]);
    if (relu && value < 0) value = 0;
    y[i] = stored<T>(value);
  }
};

template <class T>
struct NormaliseBackward {
  const T *dy, *x;
  const float *mean, *inverse_deviation, *scale, *dscale, *doffset;
  const T* y;  // or nullptr
  T* dx;
  T* dresidual;  // or nullptr
  int64_t channels;
  float count;  // pixels of the whole batch

  __device__ void operator()(int64_t i) const {
    const int64_t c = i % channels;
    const bool passes = y == nullptr || to_float(y[i]) > 0;
    const float dz = passes ? to_float(dy[i]) : 0;
    const float factor = scale[c] * inverse_deviation[c];
    const float slope = -factor * inverse_deviation[c] * dscale[c] / count;
    const float constant = -factor * doffset[c] / count;
    const float value = fmaf(factor, dz, fmaf(slope, to_float(x[i]) - mean[c], constant));
    if (dresidual != nullptr) dresidual[i] = stored<T>(dz);
    dx[i] = stored<T>(value);
  }
};

KernelPointer normalise_kernel(const Call& call, bool inference) {
  const Extents extents = call.input_extents(0);
  const bool relu = call.integer(0) == 1;
  const double epsilon = inference ? call.instruction.floats[0] : 0;
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    // apply: x mean inverse_deviation scale offset; inference: x scale offset mean variance.
    const size_t mean = inference ? 3 : 1, spread = inference ? 4 : 2, scale = inference ? 1 : 3,
                 offset = inference ? 2 : 4;
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * extents.elements(),
               Normalise<T>{as<T>(s.inputs[0]), as<float>(s.inputs[mean]),
                            as<float>(s.inputs[spread]), as<float>(s.inputs[scale]),
                            as<float>(s.inputs[offset]), as<T>(s.inputs[5]), as<T>(s.outputs[0]),
                            extents.channels, relu, inference, epsilon});
    });
  });
}

}  // namespace batch_norm

KernelPointer batch_norm_apply_kernel(const Call& call) {
  return batch_norm::normalise_kernel(call, false);
}

KernelPointer batch_norm_inference_kernel(const Call& call) {
  return batch_norm::normalise_kernel(call, true);
}

KernelPointer batch_norm_backward_apply_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  const auto count = static_cast<float>(call.entry.images * extents.pixels());
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * extents.elements(),
               batch_norm::NormaliseBackward<T>{
                   as<T>(s.inputs[0]), as<T>(s.inputs[1]), as<float>(s.inputs[2]),
                   as<float>(s.inputs[3]), as<float>(s.inputs[4]), as<float>(s.inputs[5]),
                   as<float>(s.inputs[6]), as<T>(s.inputs[7]), as<T>(s.outputs[0]),
                   as<T>(s.outputs[1]), extents.channels, count});
    });
  });
}

}  // namespace secateur::cuda
