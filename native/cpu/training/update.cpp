// What happens to weights: batch norm folded into them, SGD, AdamW and their moving average.

#include <cmath>

#include "cpu/kernels.h"

namespace secateur {

namespace {

const float* floats(const Slice& slice, size_t input) {
  return static_cast<const float*>(slice.inputs[input]);
}

// What gradients count times: 1 where nothing clips them.
float scale_of(const Slice& slice, size_t input) {
  const float* const scale = floats(slice, input);
  return scale == nullptr ? 1.0F : *scale;
}

class FoldBatchNorm final : public Kernel {
 public:
  FoldBatchNorm(int64_t outputs, int64_t per_output, double epsilon)
      : outputs_(outputs), per_output_(per_output), epsilon_(epsilon) {}

  void run(const Slice& slice) const override {
    const float *const weight = floats(slice, 0), *const bias = floats(slice, 1),
                *const scale = floats(slice, 2), *const offset = floats(slice, 3),
                *const mean = floats(slice, 4), *const variance = floats(slice, 5);
    float* const folded = static_cast<float*>(slice.outputs[0]);
    float* const folded_bias = static_cast<float*>(slice.outputs[1]);
    for (int64_t o = 0; o < outputs_; ++o) {
      const double spread = std::sqrt(static_cast<double>(variance[o]) + epsilon_);
      const double factor = static_cast<double>(scale[o]) / spread;
      const double constant = bias == nullptr ? 0.0 : static_cast<double>(bias[o]);
      folded_bias[o] = static_cast<float>(static_cast<double>(offset[o]) +
                                          (constant - static_cast<double>(mean[o])) * factor);
      for (int64_t i = o * per_output_; i < (o + 1) * per_output_; ++i) {
        folded[i] = static_cast<float>(static_cast<double>(weight[i]) * factor);
      }
    }
  }

 private:
  const int64_t outputs_, per_output_;
  const double epsilon_;
};

// Nesterov momentum and coupled weight decay as PyTorch's SGD has them.
class Sgd final : public Kernel {
 public:
  Sgd(int64_t count, float weight_decay) : count_(count), weight_decay_(weight_decay) {}

  void run(const Slice& slice) const override {
    const float *const weight = floats(slice, 0), *const gradient = floats(slice, 1),
                *const velocity = floats(slice, 2), *const hyper = floats(slice, 3);
    const float rate = hyper[0], momentum = hyper[1], scale = scale_of(slice, 4);
    float* const new_weight = static_cast<float*>(slice.outputs[0]);
    float* const new_velocity = static_cast<float*>(slice.outputs[1]);
    for (int64_t i = 0; i < count_; ++i) {
      const float pull = scale * gradient[i] + weight_decay_ * weight[i];
      const float speed = momentum * velocity[i] + pull;
      new_velocity[i] = speed;
      new_weight[i] = weight[i] - rate * (pull + momentum * speed);
    }
  }

 private:
  const int64_t count_;
  const float weight_decay_;
};

// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101.
class AdamW final : public Kernel {
 public:
  AdamW(int64_t count, float weight_decay) : count_(count), weight_decay_(weight_decay) {}

  void run(const Slice& slice) const override {
    const float *const weight = floats(slice, 0), *const gradient = floats(slice, 1),
                *const first = floats(slice, 2), *const second = floats(slice, 3),
                *const hyper = floats(slice, 4);
    const double beta1 = hyper[1], beta2 = hyper[2], step = hyper[4];
    const float rate = hyper[0], epsilon = hyper[3], keep = 1 - rate * weight_decay_;
    const float scale = scale_of(slice, 5);
    const auto b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2);
    const auto stride = static_cast<float>(static_cast<double>(rate) / (1 - std::pow(beta1, step)));
    const auto correction = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step)));
    auto* const outputs = slice.outputs.data();
    for (int64_t i = 0; i < count_; ++i) {
      const float g = scale * gradient[i];
      const float m = b1 * first[i] + (1 - b1) * g, v = b2 * second[i] + (1 - b2) * g * g;
      static_cast<float*>(outputs[1])[i] = m;
      static_cast<float*>(outputs[2])[i] = v;
      static_cast<float*>(outputs[0])[i] =
          weight[i] * keep - stride * m / (std::sqrt(v) * correction + epsilon);
    }
  }

 private:
  const int64_t count_;
  const float weight_decay_;
};

class Average final : public Kernel {
 public:
  explicit Average(int64_t count) : count_(count) {}

  void run(const Slice& slice) const override {
    const float *const weight = floats(slice, 0), *const average = floats(slice, 1);
    const float pace = floats(slice, 2)[0];
    auto* const moved = static_cast<float*>(slice.outputs[0]);
    for (int64_t i = 0; i < count_; ++i) moved[i] = average[i] + pace * (weight[i] - average[i]);
  }

 private:
  const int64_t count_;
};

class AddGradients final : public Kernel {
 public:
  explicit AddGradients(int64_t count) : count_(count) {}

  void run(const Slice& slice) const override {
    const float *const gradient = floats(slice, 0), *const more = floats(slice, 1);
    auto* const sum = static_cast<float*>(slice.outputs[0]);
    for (int64_t i = 0; i < count_; ++i) sum[i] = gradient[i] + more[i];
  }

 private:
  const int64_t count_;
};

}  // namespace

KernelPointer add_gradients_kernel(const Call& call) {
  return std::make_unique<AddGradients>(call.input(0)->elements());
}

KernelPointer average_kernel(const Call& call) {
  return std::make_unique<Average>(call.input(0)->elements());
}

KernelPointer fold_batch_norm_kernel(const Call& call) {
  const Value& weight = *call.input(0);
  const int64_t outputs = weight.shape[0];
  return std::make_unique<FoldBatchNorm>(outputs, weight.elements() / outputs,
                                         call.instruction.floats[0]);
}

KernelPointer sgd_kernel(const Call& call) {
  return std::make_unique<Sgd>(call.input(0)->elements(), call.real(0));
}

KernelPointer adamw_kernel(const Call& call) {
  return std::make_unique<AdamW>(call.input(0)->elements(), call.real(0));
}

}  // namespace secateur
