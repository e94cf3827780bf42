// Batch norm image by image: apply and its gradient with batch statistics, inference with running
// ones.

#include <cmath>

#include "cpu/channels/tables.h"
#include "cpu/kernels.h"
#include "cpu/parts.h"

namespace secateur {

namespace {

const float* floats(const Slice& slice, size_t input) {
  return static_cast<const float*>(slice.inputs[input]);
}

// y = relu?((x - mean) * factor + offset + residual), with running statistics where `inference`.
class Normalise final : public Kernel {
 public:
  Normalise(const Extents& extents, bool bf16, bool relu, bool inference, double epsilon)
      : vectors_(vector_kernels()), elements_(extents.elements()), bf16_(bf16), relu_(relu),
        inference_(inference), epsilon_(epsilon), tables_(vectors_, extents.channels, 3, 0) {}

  int64_t scratch_bytes() const override { return tables_.scratch_bytes(); }

  int64_t parts() const override { return parts_of_pass(elements_ / tables_.period(), elements_); }

  void run(const Slice& slice) const override {
    fill_tables(slice);
    const Range mine = part_of(slice.images * elements_, tables_.period(), slice);
    ChannelSweep sweep = tables_.sweep(slice.scratch, bf16_, mine.count());
    sweep.x = element_at(slice.inputs[0], bf16_, mine.first);
    if (slice.inputs[5] != nullptr) sweep.second = element_at(slice.inputs[5], bf16_, mine.first);
    sweep.y = element_at(slice.outputs[0], bf16_, mine.first);
    sweep.relu = relu_;
    vectors_.normalise(sweep);
  }

 private:
  // apply: x mean inverse_deviation scale offset; inference: x scale offset mean variance.
  void fill_tables(const Slice& slice) const {
    const float* const mean = floats(slice, inference_ ? 3 : 1);
    const float* const scale = floats(slice, inference_ ? 1 : 3);
    const float* const offset = floats(slice, inference_ ? 2 : 4);
    const float* const spread = floats(slice, inference_ ? 4 : 2);
    tables_.fill(slice.scratch, 0, [&](int64_t c) { return mean[c]; });
    tables_.fill(slice.scratch, 1, [&](int64_t c) {
      if (!inference_) return scale[c] * spread[c];
      const double variance = static_cast<double>(spread[c]) + epsilon_;
      return static_cast<float>(static_cast<double>(scale[c]) / std::sqrt(variance));
    });
    tables_.fill(slice.scratch, 2, [&](int64_t c) { return offset[c]; });
  }

  const VectorKernels& vectors_;
  const int64_t elements_;
  const bool bf16_, relu_, inference_;
  const double epsilon_;
  const ChannelTables tables_;
};

class NormaliseBackward final : public Kernel {
 public:
  NormaliseBackward(const Extents& extents, bool bf16, int64_t images)
      : vectors_(vector_kernels()), elements_(extents.elements()), bf16_(bf16),
        count_(static_cast<float>(images * extents.pixels())),
        tables_(vectors_, extents.channels, 4, 0) {}

  int64_t scratch_bytes() const override { return tables_.scratch_bytes(); }

  void run(const Slice& slice) const override {
    const float *const mean = floats(slice, 2), *const inverse_deviation = floats(slice, 3),
                *const scale = floats(slice, 4), *const dscale = floats(slice, 5),
                *const doffset = floats(slice, 6);
    const auto factor = [&](int64_t c) { return scale[c] * inverse_deviation[c]; };
    tables_.fill(slice.scratch, 0, [&](int64_t c) { return mean[c]; });
    tables_.fill(slice.scratch, 1, factor);
    tables_.fill(slice.scratch, 2, [&](int64_t c) {
      return -factor(c) * inverse_deviation[c] * dscale[c] / count_;
    });
    tables_.fill(slice.scratch, 3, [&](int64_t c) { return -factor(c) * doffset[c] / count_; });
    ChannelSweep sweep = tables_.sweep(slice.scratch, bf16_, slice.images * elements_);
    sweep.second = slice.inputs[0];
    sweep.x = slice.inputs[1];
    sweep.output = slice.inputs[7];
    sweep.y = slice.outputs[0];
    sweep.dresidual = slice.outputs[1];
    vectors_.normalise_backward(sweep);
  }

 private:
  const VectorKernels& vectors_;
  const int64_t elements_;
  const bool bf16_;
  const float count_;  // pixels of the whole batch
  const ChannelTables tables_;
};

KernelPointer normalise_kernel(const Call& call, bool inference) {
  const double epsilon = inference ? call.instruction.floats[0] : 0;
  return std::make_unique<Normalise>(call.input_extents(0), is_bf16(*call.input(0)),
                                     call.integer(0) == 1, inference, epsilon);
}

}  // namespace

KernelPointer batch_norm_apply_kernel(const Call& call) { return normalise_kernel(call, false); }

KernelPointer batch_norm_inference_kernel(const Call& call) { return normalise_kernel(call, true); }

KernelPointer batch_norm_backward_apply_kernel(const Call& call) {
  return std::make_unique<NormaliseBackward>(call.input_extents(0), is_bf16(*call.input(0)),
                                             call.entry.images);
}

}  // namespace secateur
