// Squared error of an output against what is wanted of it.

#include "bfloat16.h"
#include "cpu/kernels.h"

namespace secateur {

namespace {

class SquaredError final : public Kernel {
 public:
  SquaredError(int64_t elements, float scale, float gradient_scale, bool gradient_bf16)
      : elements_(elements),
        scale_(scale),
        gradient_scale_(gradient_scale),
        gradient_bf16_(gradient_bf16) {}

  void run(const Slice& slice) const override {
    const auto* const previous = static_cast<const float*>(slice.inputs[2]);
    auto* const loss = static_cast<float*>(slice.outputs[0]);
    for (int64_t image = 0; image < slice.images; ++image) {
      const double before = previous == nullptr ? 0 : static_cast<double>(previous[image]);
      loss[image] = static_cast<float>(before + static_cast<double>(scale_) *
                                                    run_image(slice, image * elements_));
    }
  }

 private:
  // The sum of squares of one image, whose first element is `first`; stores its gradient.
  double run_image(const Slice& slice, int64_t first) const {
    const float* const output = static_cast<const float*>(slice.inputs[0]) + first;
    const float* const wanted = static_cast<const float*>(slice.inputs[1]) + first;
    const float factor = 2 * scale_ * gradient_scale_;
    double sum = 0;
    for (int64_t i = 0; i < elements_; ++i) {
      const float difference = output[i] - wanted[i];
      sum += static_cast<double>(difference) * static_cast<double>(difference);
      if (slice.outputs[1] == nullptr) continue;
      const float gradient = factor * difference;
      if (gradient_bf16_) {
        static_cast<bfloat16*>(slice.outputs[1])[first + i] = to_bfloat16(gradient);
      } else {
        static_cast<float*>(slice.outputs[1])[first + i] = gradient;
      }
    }
    return sum;
  }

  const int64_t elements_;
  const float scale_, gradient_scale_;
  const bool gradient_bf16_;
};

}  // namespace

KernelPointer squared_error_kernel(const Call& call) {
  const Value* const gradient = call.output(1);
  return std::make_unique<SquaredError>(call.input(0)->elements(), call.real(0), call.real(1),
                                        gradient != nullptr && is_bf16(*gradient));
}

}  // namespace secateur
