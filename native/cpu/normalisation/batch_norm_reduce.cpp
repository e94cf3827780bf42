// The reductions of batch norm: statistics forward, gradients of scale and offset backward.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/channels/tables.h"
#include "cpu/kernels.h"

namespace secateur {

namespace {

// Each slice leaves count, mean and squared deviations per channel, from sums shifted by a rough
// mean; slices merge by the formula of Chan, Golub & LeVeque, "Updating Formulae and a Pairwise
// Algorithm for Computing Sample Variances" (1979).
class BatchNormStatistics final : public Kernel {
 public:
  BatchNormStatistics(const Extents& extents, bool bf16, double epsilon)
      : vectors_(vector_kernels()), extents_(extents), bf16_(bf16), epsilon_(epsilon),
        tables_(vectors_, extents.channels, 1, 2) {}

  int64_t scratch_bytes() const override { return tables_.scratch_bytes(); }
  int64_t partial_bytes() const override {
    return (1 + 2 * extents_.channels) * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& slice) const override {
    const int64_t pixels = slice.images * extents_.pixels();
    tables_.clear_sums(slice.scratch);
    tables_.fill(slice.scratch, 0, [&](int64_t channel) {
      return rough_mean(slice.inputs[0], pixels, channel);
    });
    ChannelSweep sweep = tables_.sweep(slice.scratch, bf16_, pixels * extents_.channels);
    sweep.x = slice.inputs[0];
    vectors_.moments(sweep);
    auto* const partial = static_cast<double*>(slice.partial);
    const auto count = static_cast<double>(pixels);
    partial[0] = count;
    for (int64_t c = 0; c < extents_.channels; ++c) {
      const double shifted = tables_.sum_of(slice.scratch, 0, c) / count;
      const double squares = tables_.sum_of(slice.scratch, 1, c);
      partial[1 + c] = static_cast<double>(sweep.table[0][c]) + shifted;
      // Not std::max: a NaN must stay one.
      const double deviations = squares - count * shifted * shifted;
      partial[1 + extents_.channels + c] = deviations < 0 ? 0 : deviations;
    }
  }

  void combine(const Partials& partials) const override {
    const auto* const momentum = static_cast<const float*>(partials.inputs[1]);
    for (int64_t c = 0; c < extents_.channels; ++c) {
      double count = 0, mean = 0, deviations = 0;
      for (int64_t s = 0; s < partials.slices; ++s) {
        const double* const partial = partials.of<double>(s);
        const double more = partial[0], distance = partial[1 + c] - mean, all = count + more;
        mean += distance * more / all;
        deviations += partial[1 + extents_.channels + c] + distance * distance * count * more / all;
        count = all;
      }
      const double variance = deviations / count;
      output(partials, 0)[c] = static_cast<float>(mean);
      output(partials, 1)[c] = static_cast<float>(1 / std::sqrt(variance + epsilon_));
      const double unbiased = count > 1 ? deviations / (count - 1) : variance;
      update(partials, 2, c, mean, *momentum);
      update(partials, 3, c, unbiased, *momentum);
    }
  }

 private:
  static float* output(const Partials& partials, size_t index) {
    return static_cast<float*>(partials.outputs[index]);
  }
  static void update(const Partials& partials, size_t index, int64_t channel, double now,
                     float momentum) {
    const double before = static_cast<const float*>(partials.inputs[index])[channel];
    const double share = momentum;
    output(partials, index)[channel] = static_cast<float>((1 - share) * before + share * now);
  }

  // Of up to 16 pixels spread over the slice: close enough to keep shifted sums small.
  float rough_mean(const void* x, int64_t pixels, int64_t channel) const {
    const int64_t step = std::max<int64_t>(1, pixels / 16);
    float sum = 0;
    int64_t count = 0;
    for (int64_t pixel = 0; pixel < pixels; pixel += step, ++count) {
      const int64_t i = pixel * extents_.channels + channel;
      sum += bf16_ ? to_float(static_cast<const bfloat16*>(x)[i]) : static_cast<const float*>(x)[i];
    }
    return sum / static_cast<float>(count);
  }

  const VectorKernels& vectors_;
  const Extents extents_;
  const bool bf16_;
  const double epsilon_;
  const ChannelTables tables_;
};

class BatchNormBackwardReduce final : public Kernel {
 public:
  BatchNormBackwardReduce(const Extents& extents, bool bf16)
      : vectors_(vector_kernels()), extents_(extents), bf16_(bf16),
        tables_(vectors_, extents.channels, 1, 2) {}

  int64_t scratch_bytes() const override { return tables_.scratch_bytes(); }
  int64_t partial_bytes() const override {
    return 2 * extents_.channels * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& slice) const override {
    const auto* const mean = static_cast<const float*>(slice.inputs[2]);
    tables_.clear_sums(slice.scratch);
    tables_.fill(slice.scratch, 0, [&](int64_t channel) { return mean[channel]; });
    ChannelSweep sweep = tables_.sweep(slice.scratch, bf16_, slice.images * extents_.elements());
    sweep.second = slice.inputs[0];
    sweep.x = slice.inputs[1];
    sweep.output = slice.inputs[4];
    vectors_.normalise_backward_sums(sweep);
    auto* const partial = static_cast<double*>(slice.partial);
    for (int64_t c = 0; c < extents_.channels; ++c) {
      partial[c] = tables_.sum_of(slice.scratch, 0, c);
      partial[extents_.channels + c] = tables_.sum_of(slice.scratch, 1, c);
    }
  }

  void combine(const Partials& partials) const override {
    const auto* const inverse_deviation = static_cast<const float*>(partials.inputs[3]);
    auto* const dscale = static_cast<float*>(partials.outputs[0]);
    auto* const doffset = static_cast<float*>(partials.outputs[1]);
    for (int64_t c = 0; c < extents_.channels; ++c) {
      double sum = 0, products = 0;
      for (int64_t s = 0; s < partials.slices; ++s) {
        sum += partials.of<double>(s)[c];
        products += partials.of<double>(s)[extents_.channels + c];
      }
      doffset[c] = static_cast<float>(sum);
      dscale[c] = static_cast<float>(products * static_cast<double>(inverse_deviation[c]));
    }
  }

 private:
  const VectorKernels& vectors_;
  const Extents extents_;
  const bool bf16_;
  const ChannelTables tables_;
};

}  // namespace

KernelPointer batch_norm_statistics_kernel(const Call& call) {
  return std::make_unique<BatchNormStatistics>(call.input_extents(0), is_bf16(*call.input(0)),
                                               call.instruction.floats[0]);
}

KernelPointer batch_norm_backward_reduce_kernel(const Call& call) {
  return std::make_unique<BatchNormBackwardReduce>(call.input_extents(0),
                                                   is_bf16(*call.input(0)));
}

}  // namespace secateur
