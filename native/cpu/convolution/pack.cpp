#include "cpu/convolution/pack.h"

#include <algorithm>

#include "cpu/convolution/shape.h"
#include "cpu/kernels.h"
#include "program/shapes/pack_attributes.h"

namespace secateur {

namespace {

class PackConvolution final : public Kernel {
 public:
  explicit PackConvolution(const PackAttributes& attributes)
      : shape_(attributes.shape), backward_(attributes.backward),
        bf16_(attributes.precision == Precision::bf16),
        form_(shape_, backward_, vector_kernels().lanes) {}

  void run(const Slice& slice) const override {
    const float* const weight = static_cast<const float*>(slice.inputs[0]);
    float* to = static_cast<float*>(slice.outputs[0]);
    for (int64_t group = 0; group < form_.groups; ++group) {
      for (int64_t first = 0; first < form_.outputs; first += form_.lanes) {
        const int64_t count = std::min(form_.lanes, form_.outputs - first);
        for (int64_t row = 0; row < form_.rows; ++row, to += form_.lanes) {
          const float* const from = weight + index(group, first, row);
          for (int64_t lane = 0; lane < count; ++lane) to[lane] = stored(from[lane * step()]);
          std::fill(to + count, to + form_.lanes, 0.0f);
        }
      }
    }
  }

 private:
  // bf16 weights are rounded like bf16 activations, but stay f32 in memory.
  float stored(float value) const { return bf16_ ? to_float(to_bfloat16(value)) : value; }

  // Between the weights of neighbouring outputs.
  int64_t step() const {
    const bool inner = backward_ || shape_.depthwise();
    return inner ? shape_.taps() : shape_.group_in() * shape_.taps();
  }

  // Into [out, in / groups, tap].
  int64_t index(int64_t group, int64_t output, int64_t row) const {
    const int64_t inputs = form_.rows / shape_.taps();  // of a group; 1 when depthwise
    const int64_t position = row / inputs, input = row % inputs;
    const int64_t tap = backward_ ? shape_.taps() - 1 - position : position;
    if (shape_.depthwise()) return output * shape_.taps() + tap;
    const int64_t out = group * shape_.group_out() + (backward_ ? input : output);
    const int64_t in = backward_ ? output : input;
    return (out * shape_.group_in() + in) * shape_.taps() + tap;
  }

  const ConvolutionShape shape_;
  const bool backward_, bf16_;
  const PackedForm form_;
};

}  // namespace

int64_t portable_packed_bytes(std::span<const int64_t> ints) {
  const auto attributes = PackAttributes::parse(ints);
  const PackedForm form(attributes.shape, attributes.backward, vector_kernels().lanes);
  return form.elements() * static_cast<int64_t>(sizeof(float));
}

KernelPointer pack_convolution_kernel(const Call& call) {
  const auto attributes = PackAttributes::parse(call.instruction.ints);
  call.require_output(0, {portable_packed_bytes(call.instruction.ints)});
  return std::make_unique<PackConvolution>(attributes);
}

}  // namespace secateur
