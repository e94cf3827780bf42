// Normalisation over the channels of each pixel (Ba et al., arXiv 1607.06450), and its gradients.

#include <cmath>

#include "cpu/pixel_map.h"

namespace secateur {

namespace {

// xhat = (x - mean) * inverse_deviation; returns the inverse deviation.
float standardise(const float* x, int64_t channels, double epsilon, float* xhat) {
  double mean = 0, squares = 0;
  for (int64_t c = 0; c < channels; ++c) mean += static_cast<double>(x[c]);
  mean /= static_cast<double>(channels);
  for (int64_t c = 0; c < channels; ++c) {
    const double distance = static_cast<double>(x[c]) - mean;
    squares += distance * distance;
  }
  const double inverse = 1 / std::sqrt(squares / static_cast<double>(channels) + epsilon);
  for (int64_t c = 0; c < channels; ++c) {
    xhat[c] = static_cast<float>((static_cast<double>(x[c]) - mean) * inverse);
  }
  return static_cast<float>(inverse);
}

class LayerNorm final : public PixelMap {
 public:
  LayerNorm(const Call& call, bool backward)
      : PixelMap(call, backward, 1), epsilon_(call.instruction.floats[0]) {}

 private:
  void map(const Slice& slice, const float* x, float* y, float* xhat) const override {
    const auto* const scale = static_cast<const float*>(slice.inputs[1]);
    const auto* const offset = static_cast<const float*>(slice.inputs[2]);
    standardise(x, channels(), epsilon_, xhat);
    for (int64_t c = 0; c < channels(); ++c) y[c] = xhat[c] * scale[c] + offset[c];
  }

  void gradient(const Slice& slice, const float* dy, const float* x, float* dx,
                float* xhat) const override {
    const auto* const scale = static_cast<const float*>(slice.inputs[2]);
    const int64_t channels = this->channels();
    const float inverse = standardise(x, channels, epsilon_, xhat);
    double mean = 0, projection = 0;
    for (int64_t c = 0; c < channels; ++c) {
      dx[c] = dy[c] * scale[c];
      mean += static_cast<double>(dx[c]);
      projection += static_cast<double>(dx[c]) * static_cast<double>(xhat[c]);
    }
    const auto count = static_cast<double>(channels);
    const auto centre = static_cast<float>(mean / count);
    const auto along = static_cast<float>(projection / count);
    for (int64_t c = 0; c < channels; ++c) dx[c] = inverse * (dx[c] - centre - xhat[c] * along);
  }

  const double epsilon_;
};

class LayerNormParameters final : public Kernel {
 public:
  LayerNormParameters(const Value& x, const Extents& extents, double epsilon)
      : pixels_(x, extents.channels), count_(extents.pixels()), epsilon_(epsilon) {}

  int64_t scratch_bytes() const override {
    return 3 * pixels_.channels() * static_cast<int64_t>(sizeof(float));
  }
  int64_t partial_bytes() const override {
    return 2 * pixels_.channels() * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& slice) const override {
    const int64_t channels = pixels_.channels();
    float* const room = static_cast<float*>(slice.scratch);
    float* const xhat = room + 2 * channels;
    auto* const sums = static_cast<double*>(slice.partial);
    std::fill_n(sums, 2 * channels, 0.0);
    for (int64_t pixel = 0; pixel < slice.images * count_; ++pixel) {
      const float* const dy = pixels_.read(slice.inputs[0], pixel, room);
      const float* const x = pixels_.read(slice.inputs[1], pixel, room + channels);
      standardise(x, channels, epsilon_, xhat);
      for (int64_t c = 0; c < channels; ++c) {
        sums[c] += static_cast<double>(dy[c]) * static_cast<double>(xhat[c]);
        sums[channels + c] += static_cast<double>(dy[c]);
      }
    }
  }

  void combine(const Partials& partials) const override {
    const int64_t channels = pixels_.channels();
    for (int64_t i = 0; i < 2 * channels; ++i) {
      double sum = 0;
      for (int64_t s = 0; s < partials.slices; ++s) sum += partials.of<double>(s)[i];
      static_cast<float*>(partials.outputs[i / channels])[i % channels] = static_cast<float>(sum);
    }
  }

 private:
  const Pixels pixels_;
  const int64_t count_;
  const double epsilon_;
};

}  // namespace

KernelPointer layer_norm_kernel(const Call& call) {
  return std::make_unique<LayerNorm>(call, false);
}
KernelPointer layer_norm_backward_kernel(const Call& call) {
  return std::make_unique<LayerNorm>(call, true);
}

KernelPointer layer_norm_backward_parameters_kernel(const Call& call) {
  return std::make_unique<LayerNormParameters>(*call.input(0), call.input_extents(0),
                                               call.instruction.floats[0]);
}

}  // namespace secateur
