// Softmax cross-entropy with label smoothing, mixed with distillation from a teacher's logits
// (Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531).

#include <algorithm>
#include <cmath>

#include "bfloat16.h"
#include "cpu/kernels.h"
#include "error.h"

namespace secateur {

namespace {

struct LossAttributes {
  float smoothing, distill, temperature, gradient_scale;
};

// Logarithms of softmax(logits / temperature).
void log_softmax(const float* logits, int64_t classes, float temperature, float* to) {
  float largest = logits[0];
  for (int64_t c = 1; c < classes; ++c) largest = logits[c] > largest ? logits[c] : largest;
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) {
    to[c] = (logits[c] - largest) / temperature;
    sum += static_cast<double>(std::exp(to[c]));
  }
  const auto normaliser = static_cast<float>(std::log(sum));
  for (int64_t c = 0; c < classes; ++c) to[c] -= normaliser;
}

class SoftmaxCrossEntropy final : public Kernel {
 public:
  SoftmaxCrossEntropy(int64_t classes, const LossAttributes& attributes, bool gradient_bf16)
      : classes_(classes), attributes_(attributes), gradient_bf16_(gradient_bf16) {}

  int64_t scratch_bytes() const override {
    return 4 * classes_ * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const override {
    const auto* const shares = static_cast<const float*>(slice.inputs[4]);
    for (int64_t image = 0; image < slice.images; ++image) {
      const int32_t label = label_of(slice, 1, image);
      const Target target = shares == nullptr
                                ? Target{label, label, 1}
                                : Target{label, label_of(slice, 3, image), shares[image]};
      run_image(slice, image, target);
    }
  }

 private:
  // Of the cross entropy, `share` is the first label's and the rest the other's.
  struct Target {
    int32_t label, other;
    float share;
  };

  int32_t label_of(const Slice& slice, size_t input, int64_t image) const {
    const int32_t label = static_cast<const int32_t*>(slice.inputs[input])[image];
    if (label < 0 || label >= classes_) refuse(label, slice.first_image + image);
    return label;
  }

  void run_image(const Slice& slice, int64_t image, const Target& wanted) const {
    const LossAttributes& a = attributes_;
    const int64_t first = image * classes_;
    const float* const logits = static_cast<const float*>(slice.inputs[0]) + first;
    float* const log_share = static_cast<float*>(slice.scratch);
    float* const gradient = log_share + classes_;
    log_softmax(logits, classes_, 1, log_share);
    const bool distils = slice.inputs[2] != nullptr;
    const float hard = distils ? 1 - a.distill : 1;
    const float everywhere = a.smoothing / static_cast<float>(classes_);
    double loss = 0;
    for (int64_t c = 0; c < classes_; ++c) {
      const float own = (c == wanted.label ? wanted.share : 0) +
                        (c == wanted.other ? 1 - wanted.share : 0);
      const float target = (1 - a.smoothing) * own + everywhere;
      // A target of zero has no part, even where the class is impossible.
      if (target != 0) loss -= static_cast<double>(target) * static_cast<double>(log_share[c]);
      gradient[c] = hard * (std::exp(log_share[c]) - target);
    }
    loss *= static_cast<double>(hard);
    if (distils) {
      loss += distil(logits, static_cast<const float*>(slice.inputs[2]) + first, gradient,
                     gradient + classes_);
    }
    static_cast<float*>(slice.outputs[0])[image] = static_cast<float>(loss);
    if (slice.outputs[1] != nullptr) store(gradient, slice.outputs[1], first);
  }

  // distill * T^2 * KL(teacher || student); its gradient is distill * T * (student - teacher).
  double distil(const float* logits, const float* teacher, float* gradient, float* scratch) const {
    const LossAttributes& a = attributes_;
    float* const student_log = scratch;
    float* const teacher_log = scratch + classes_;
    log_softmax(logits, classes_, a.temperature, student_log);
    log_softmax(teacher, classes_, a.temperature, teacher_log);
    double divergence = 0;
    for (int64_t c = 0; c < classes_; ++c) {
      const float share = std::exp(teacher_log[c]);
      gradient[c] += a.distill * a.temperature * (std::exp(student_log[c]) - share);
      if (share != 0) {
        divergence += static_cast<double>(share) *
                      (static_cast<double>(teacher_log[c]) - static_cast<double>(student_log[c]));
      }
    }
    return static_cast<double>(a.distill * a.temperature * a.temperature) * divergence;
  }

  void store(const float* gradient, void* to, int64_t first) const {
    for (int64_t c = 0; c < classes_; ++c) {
      const float value = gradient[c] * attributes_.gradient_scale;
      if (gradient_bf16_) {
        static_cast<bfloat16*>(to)[first + c] = to_bfloat16(value);
      } else {
        static_cast<float*>(to)[first + c] = value;
      }
    }
  }

  [[noreturn]] void refuse(int32_t label, int64_t image) const {
    throw Error("data-mismatch", "Expected labels from 0 to " + std::to_string(classes_ - 1) +
                                     ", found " + std::to_string(label) + " for image " +
                                     std::to_string(image) + " of the batch.");
  }

  const int64_t classes_;
  const LossAttributes attributes_;
  const bool gradient_bf16_;
};

}  // namespace

KernelPointer softmax_cross_entropy_kernel(const Call& call) {
  const int64_t classes = call.input(0)->elements();
  const LossAttributes attributes{call.real(0), call.real(1), call.real(2), call.real(3)};
  const Value* const gradient = call.output(1);
  return std::make_unique<SoftmaxCrossEntropy>(classes, attributes,
                                               gradient != nullptr && is_bf16(*gradient));
}

}  // namespace secateur
