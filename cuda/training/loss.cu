// Softmax cross-entropy with label smoothing, mixed with distillation from a teacher's logits
// (Hinton, Vinyals & Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531). A warp
// for each image.

#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "error.h"
#include "kernels.h"

namespace secateur::cuda {

namespace loss {

struct Arguments {
  int classes;
  float smoothing, distill, temperature, gradient_scale;
  const float* logits;
  const int32_t* labels;
  const float* teacher;  // or nullptr
  // Of pictures mixed of two, or nullptr: the second one's label, the first one's share.
  const int32_t* other_labels;
  const float* label_shares;
  float* loss;
  void* dlogits;  // or nullptr
  int64_t images, first_image;
  unsigned long long* report;
};

// log softmax(logits / temperature) of class c is (logits[c] - largest) / temperature - normaliser.
struct LogSoftmax {
  const float* logits;
  float largest, temperature, normaliser;

  __device__ LogSoftmax(const float* its_logits, int classes, float its_temperature, int lane)
      : logits(its_logits), temperature(its_temperature) {
    float own = logits[0];
    for (int c = lane; c < classes; c += kWarp) own = logits[c] > own ? logits[c] : own;
    largest = warp_largest(own);
    double sum = 0;
    for (int c = lane; c < classes; c += kWarp) {
      sum += static_cast<double>(expf((logits[c] - largest) / temperature));
    }
    normaliser = static_cast<float>(log(warp_sum(sum)));
  }

  __device__ float operator[](int c) const {
    return (logits[c] - largest) / temperature - normaliser;
  }
};

template <class G>
__global__ void __launch_bounds__(kWarp) loss_kernel(Arguments a) {
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t image = blockIdx.x, first = image * a.classes;
  const bool mixed = a.label_shares != nullptr;
  const int label = a.labels[image], other = mixed ? a.other_labels[image] : label;
  const float label_share = mixed ? a.label_shares[image] : 1;
  const bool known = label >= 0 && label < a.classes;
  if (!known || other < 0 || other >= a.classes) {
    if (lane == 0) {
      atomicMin(a.report, static_cast<unsigned long long>(a.first_image + image) << 32 |
                              static_cast<uint32_t>(known ? other : label));
    }
    return;
  }
  const bool distils = a.teacher != nullptr;
  const LogSoftmax log_share(a.logits + first, a.classes, 1, lane);
  // Without a teacher these are not used.
  const LogSoftmax student(a.logits + first, a.classes, a.temperature, lane);
  const LogSoftmax teacher((distils ? a.teacher : a.logits) + first, a.classes, a.temperature,
                           lane);
  const float hard = distils ? 1 - a.distill : 1;
  const float everywhere = a.smoothing / static_cast<float>(a.classes);
  double loss = 0, divergence = 0;
  for (int c = lane; c < a.classes; c += kWarp) {
    const float own = (c == label ? label_share : 0) + (c == other ? 1 - label_share : 0);
    const float target = (1 - a.smoothing) * own + everywhere;
    // A target of zero has no part, even where the class is impossible.
    if (target != 0) loss -= static_cast<double>(target) * static_cast<double>(log_share[c]);
    float gradient = hard * (expf(log_share[c]) - target);
    if (distils) {
      // distill * T^2 * KL(teacher || student); its gradient is distill * T * (student - teacher).
      const float share = expf(teacher[c]);
      gradient += a.distill * a.temperature * (expf(student[c]) - share);
      if (share != 0) {
        divergence += static_cast<double>(share) *
                      (static_cast<double>(teacher[c]) - static_cast<double>(student[c]));
      }
    }
    if (a.dlogits != nullptr) {
      static_cast<G*>(a.dlogits)[first + c] = stored<G>(gradient * a.gradient_scale);
    }
  }
  loss = warp_sum(loss) * static_cast<double>(hard);
  divergence = warp_sum(divergence);
  if (distils) {
    loss += static_cast<double>(a.distill * a.temperature * a.temperature) * divergence;
  }
  if (lane == 0) a.loss[image] = static_cast<float>(loss);
}

class SoftmaxCrossEntropy final : public Kernel {
 public:
  SoftmaxCrossEntropy(const Arguments& arguments, bool gradient_bf16)
      : arguments_(arguments), gradient_bf16_(gradient_bf16) {}

  void run(const Slice& s) const override {
    Arguments a = arguments_;
    a.logits = as<float>(s.inputs[0]);
    a.labels = as<int32_t>(s.inputs[1]);
    a.teacher = as<float>(s.inputs[2]);
    a.other_labels = as<int32_t>(s.inputs[3]);
    a.label_shares = as<float>(s.inputs[4]);
    a.loss = as<float>(s.outputs[0]);
    a.dlogits = s.outputs[1];
    a.first_image = s.first_image;
    a.report = s.report;
    with_number(gradient_bf16_, [&](auto number) {
      launch(s.stream, {{blocks_for(s.images, 1)}, {kWarp}}, loss_kernel<decltype(number)>, a);
    });
  }

  bool reports() const override { return true; }
  Error refusal(unsigned long long report) const override {
    return {"data-mismatch", "Expected labels from 0 to " +
                                 std::to_string(arguments_.classes - 1) + ", found " +
                                 std::to_string(static_cast<int32_t>(report)) + " for image " +
                                 std::to_string(report >> 32) + " of the batch."};
  }

 private:
  const Arguments arguments_;
  const bool gradient_bf16_;
};

}  // namespace loss

KernelPointer softmax_cross_entropy_kernel(const Call& call) {
  loss::Arguments a{};
  a.classes = static_cast<int>(call.input(0)->elements());
  a.smoothing = call.real(0);
  a.distill = call.real(1);
  a.temperature = call.real(2);
  a.gradient_scale = call.real(3);
  const Value* const gradient = call.output(1);
  return std::make_unique<loss::SoftmaxCrossEntropy>(a, gradient != nullptr && is_bf16(*gradient));
}

}  // namespace secateur::cuda
