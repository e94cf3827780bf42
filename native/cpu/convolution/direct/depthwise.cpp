#include "cpu/convolution/direct/depthwise.h"

#include "cpu/parts.h"

namespace secateur {

namespace {

void* element(void* base, bool bf16, int64_t index) {
  return static_cast<std::byte*>(base) + index * (bf16 ? 2 : 4);
}

class Depthwise final : public Kernel {
 public:
  Depthwise(const DepthwiseSweep& sweep, int64_t out_height)
      : vectors_(vector_kernels()), sweep_(sweep), out_height_(out_height),
        in_elements_(sweep.in_height * sweep.in_width * sweep.channels),
        out_elements_(out_height * sweep.out_width * sweep.channels) {}

  // Vectors do less at a time here than in dense convolutions.
  int64_t parts() const override {
    const int64_t taps = sweep_.kernel_height * sweep_.kernel_width;
    return parts_for(out_height_, 4 * taps * out_elements_);
  }

  void run(const Slice& slice) const override {
    DepthwiseSweep sweep = sweep_;
    const Range rows = part_of(out_height_, 1, slice);
    sweep.first_row = rows.first;
    sweep.last_row = rows.last;
    sweep.weights = static_cast<const float*>(slice.inputs[1]);
    sweep.bias = static_cast<const float*>(argument(slice, 2));
    void* const residual = argument(slice, 3);
    for (int64_t image = 0; image < slice.images; ++image) {
      sweep.x = element(slice.inputs[0], sweep.x_bf16, image * in_elements_);
      sweep.y = element(slice.outputs[0], sweep.y_bf16, image * out_elements_);
      if (residual != nullptr) {
        sweep.residual = element(residual, sweep.y_bf16, image * out_elements_);
      }
      vectors_.convolve_depthwise(sweep);
    }
  }

 private:
  static void* argument(const Slice& slice, size_t input) {
    return slice.inputs.size() > input ? slice.inputs[input] : nullptr;
  }

  const VectorKernels& vectors_;
  const DepthwiseSweep sweep_;
  const int64_t out_height_, in_elements_, out_elements_;
};

}  // namespace

KernelPointer depthwise_kernel(const Call& call, const ConvolutionShape& s, bool backward) {
  DepthwiseSweep sweep{};
  sweep.x_bf16 = is_bf16(*call.input(0));
  sweep.y_bf16 = is_bf16(*call.output(0));
  sweep.channels = s.in_channels;
  sweep.in_height = backward ? s.out_height : s.in_height;
  sweep.in_width = backward ? s.out_width : s.in_width;
  sweep.out_width = backward ? s.in_width : s.out_width;
  sweep.kernel_height = s.kernel_height;
  sweep.kernel_width = s.kernel_width;
  sweep.stride_height = s.stride_height;
  sweep.stride_width = s.stride_width;
  sweep.dilation_height = s.dilation_height;
  sweep.dilation_width = s.dilation_width;
  sweep.pad_top = s.pad_top;
  sweep.pad_left = s.pad_left;
  sweep.relu = !backward && call.integer(ConvolutionShape::kInts) == 1;
  sweep.transposed = backward;
  if (backward && s.stride_height == 1 && s.stride_width == 1) {
    // The transpose is a convolution with the mirrored filter, which is how it was packed.
    sweep.transposed = false;
    sweep.pad_top = (s.kernel_height - 1) * s.dilation_height - s.pad_top;
    sweep.pad_left = (s.kernel_width - 1) * s.dilation_width - s.pad_left;
  }
  return std::make_unique<Depthwise>(sweep, backward ? s.in_height : s.out_height);
}

}  // namespace secateur
