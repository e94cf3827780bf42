// What happens to weights: batch norm folded into them, SGD, AdamW and their moving average.

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace update {

__device__ __forceinline__ double wide(float value) { return static_cast<double>(value); }

// A thread for every weight; the first of an output writes its bias.
struct FoldBatchNorm {
  const float *weight, *bias, *scale, *offset, *mean, *variance;  // bias: or nullptr
  float *folded, *folded_bias;
  int64_t per_output;
  double epsilon;

  __device__ void operator()(int64_t i) const {
    const int64_t o = i / per_output;
    const double factor = wide(scale[o]) / sqrt(wide(variance[o]) + epsilon);
    folded[i] = static_cast<float>(wide(weight[i]) * factor);
    if (i % per_output != 0) return;
    const double constant = bias == nullptr ? 0.0 : wide(bias[o]);
    folded_bias[o] = static_cast<float>(wide(offset[o]) + (constant - wide(mean[o])) * factor);
  }
};

// What gradients count times: 1 where nothing clips them.
__device__ __forceinline__ float scale_of(const float* scale) {
  return scale == nullptr ? 1.0f : *scale;
}

// Nesterov momentum and coupled weight decay as PyTorch's SGD has them.
struct Sgd {
  const float *weight, *gradient, *velocity, *hyper, *scale;  // scale: or nullptr
  float *new_weight, *new_velocity;
  float weight_decay;

  __device__ void operator()(int64_t i) const {
    const float rate = hyper[0], momentum = hyper[1];
    const float pull = fmaf(weight_decay, weight[i], scale_of(scale) * gradient[i]);
    const float speed = fmaf(momentum, velocity[i], pull);
    new_velocity[i] = speed;
    new_weight[i] = weight[i] - rate * fmaf(momentum, speed, pull);
  }
};

// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101.
struct AdamW {
  const float *weight, *gradient, *first, *second, *hyper, *scale;  // scale: or nullptr
  float *new_weight, *new_first, *new_second;
  float weight_decay;

  __device__ void operator()(int64_t i) const {
    const double step = wide(hyper[4]);
    const float rate = hyper[0], b1 = hyper[1], b2 = hyper[2], epsilon = hyper[3];
    const auto stride = static_cast<float>(wide(rate) / (1 - pow(wide(b1), step)));
    const auto correction = static_cast<float>(1 / sqrt(1 - pow(wide(b2), step)));
    const float g = scale_of(scale) * gradient[i];
    const float m = b1 * first[i] + (1 - b1) * g, v = b2 * second[i] + (1 - b2) * g * g;
    new_first[i] = m;
    new_second[i] = v;
    new_weight[i] = weight[i] * (1 - rate * weight_decay) -
                    stride * m / (sqrtf(v) * correction + epsilon);
  }
};

struct Average {
  const float *weight, *average, *pace;
  float* moved;
  __device__ void operator()(int64_t i) const {
    moved[i] = fmaf(*pace, weight[i] - average[i], average[i]);
  }
};

struct AddGradients {
  const float *gradient, *more;
  float* sum;
  __device__ void operator()(int64_t i) const { sum[i] = gradient[i] + more[i]; }
};

}  // namespace update

KernelPointer add_gradients_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  return simple_kernel([=](const Slice& s) {
    for_each(s.stream, elements,
             update::AddGradients{as<float>(s.inputs[0]), as<float>(s.inputs[1]),
                                  as<float>(s.outputs[0])});
  });
}

KernelPointer average_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  return simple_kernel([=](const Slice& s) {
    for_each(s.stream, elements,
             update::Average{as<float>(s.inputs[0]), as<float>(s.inputs[1]),
                             as<float>(s.inputs[2]), as<float>(s.outputs[0])});
  });
}

KernelPointer fold_batch_norm_kernel(const Call& call) {
  const Value& weight = *call.input(0);
  const int64_t outputs = weight.shape[0], elements = weight.elements();
  const double epsilon = call.instruction.floats[0];
  return simple_kernel([=](const Slice& s) {
    for_each(s.stream, elements,
             update::FoldBatchNorm{as<float>(s.inputs[0]), as<float>(s.inputs[1]),
                                   as<float>(s.inputs[2]), as<float>(s.inputs[3]),
                                   as<float>(s.inputs[4]), as<float>(s.inputs[5]),
                                   as<float>(s.outputs[0]), as<float>(s.outputs[1]),
                                   elements / outputs, epsilon});
  });
}

KernelPointer sgd_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  const float weight_decay = call.real(0);
  return simple_kernel([=](const Slice& s) {
    for_each(s.stream, elements,
             update::Sgd{as<float>(s.inputs[0]), as<float>(s.inputs[1]), as<float>(s.inputs[2]),
                         as<float>(s.inputs[3]), as<float>(s.inputs[4]),
                         as<float>(s.outputs[0]), as<float>(s.outputs[1]), weight_decay});
  });
}

KernelPointer adamw_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  const float weight_decay = call.real(0);
  return simple_kernel([=](const Slice& s) {
    for_each(s.stream, elements,
             update::AdamW{as<float>(s.inputs[0]), as<float>(s.inputs[1]), as<float>(s.inputs[2]),
                           as<float>(s.inputs[3]), as<float>(s.inputs[4]), as<float>(s.inputs[5]),
                           as<float>(s.outputs[0]), as<float>(s.outputs[1]),
                           as<float>(s.outputs[2]), weight_decay});
  });
}

}  // namespace secateur::cuda
