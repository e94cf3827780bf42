// Leaky ReLU with a learned slope per channel (He et al., arXiv 1502.01852), and its gradients.

#include "cpu/pixel_map.h"

namespace secateur {

namespace {

class Prelu final : public PixelMap {
 public:
  Prelu(const Call& call, bool backward) : PixelMap(call, backward) {}

 private:
  void map(const Slice& slice, const float* x, float* y, float*) const override {
    const auto* const slope = static_cast<const float*>(slice.inputs[1]);
    for (int64_t c = 0; c < channels(); ++c) y[c] = x[c] < 0 ? x[c] * slope[c] : x[c];
  }

  void gradient(const Slice& slice, const float* dy, const float* x, float* dx,
                float*) const override {
    const auto* const slope = static_cast<const float*>(slice.inputs[2]);
    for (int64_t c = 0; c < channels(); ++c) dx[c] = x[c] < 0 ? dy[c] * slope[c] : dy[c];
  }
};

class PreluSlope final : public Kernel {
 public:
  PreluSlope(const Value& x, const Extents& extents)
      : pixels_(x, extents.channels), count_(extents.pixels()) {}

  int64_t scratch_bytes() const override {
    return 2 * pixels_.channels() * static_cast<int64_t>(sizeof(float));
  }
  int64_t partial_bytes() const override {
    return pixels_.channels() * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& slice) const override {
    const int64_t channels = pixels_.channels();
    float* const room = static_cast<float*>(slice.scratch);
    auto* const sums = static_cast<double*>(slice.partial);
    std::fill_n(sums, channels, 0.0);
    for (int64_t pixel = 0; pixel < slice.images * count_; ++pixel) {
      const float* const dy = pixels_.read(slice.inputs[0], pixel, room);
      const float* const x = pixels_.read(slice.inputs[1], pixel, room + channels);
      for (int64_t c = 0; c < channels; ++c) {
        sums[c] += x[c] < 0 ? static_cast<double>(dy[c]) * static_cast<double>(x[c]) : 0.0;
      }
    }
  }

  void combine(const Partials& partials) const override {
    auto* const slope = static_cast<float*>(partials.outputs[0]);
    for (int64_t c = 0; c < pixels_.channels(); ++c) {
      double sum = 0;
      for (int64_t s = 0; s < partials.slices; ++s) sum += partials.of<double>(s)[c];
      slope[c] = static_cast<float>(sum);
    }
  }

 private:
  const Pixels pixels_;
  const int64_t count_;
};

}  // namespace

KernelPointer prelu_kernel(const Call& call) { return std::make_unique<Prelu>(call, false); }
KernelPointer prelu_backward_kernel(const Call& call) {
  return std::make_unique<Prelu>(call, true);
}

KernelPointer prelu_backward_slope_kernel(const Call& call) {
  return std::make_unique<PreluSlope>(*call.input(0), call.input_extents(0));
}

}  // namespace secateur
