// Normalisation by the channels around each (Krizhevsky et al., NIPS 2012), and its gradient.

#include <cmath>

#include "cpu/pixel_map.h"

namespace secateur {

namespace {

struct Window {
  int64_t before, after;
  float share, beta, bias;  // share: alpha / size
};

Window window_of(const Call& call) {
  const int64_t size = call.integer(0), before = (size - 1) / 2;
  return {before, size - 1 - before, call.real(0) / static_cast<float>(size), call.real(1),
          call.real(2)};
}

class LocalResponseNorm final : public PixelMap {
 public:
  LocalResponseNorm(const Call& call, bool backward)
      : PixelMap(call, backward, 2), window_(window_of(call)) {}

 private:
  void map(const Slice&, const float* x, float* y, float* base) const override {
    bases(x, base);
    for (int64_t c = 0; c < channels(); ++c) y[c] = x[c] * std::pow(base[c], -window_.beta);
  }

  // bias + alpha / size * the sum of squares around each channel.
  void bases(const float* x, float* base) const {
    const int64_t channels = this->channels();
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t first = std::max<int64_t>(0, c - window_.before);
      const int64_t last = std::min(channels - 1, c + window_.after);
      float sum = 0;
      for (int64_t j = first; j <= last; ++j) sum += x[j] * x[j];
      base[c] = window_.bias + window_.share * sum;
    }
  }

  // Channel j is in the window of those from j - after to j + before.
  void gradient(const Slice&, const float* dy, const float* x, float* dx,
                float* base) const override {
    const int64_t channels = this->channels();
    float* const pull = base + channels;
    bases(x, base);
    for (int64_t c = 0; c < channels; ++c) {
      dx[c] = dy[c] * std::pow(base[c], -window_.beta);
      pull[c] = dx[c] * x[c] / base[c];
    }
    const float factor = 2 * window_.share * window_.beta;
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t first = std::max<int64_t>(0, c - window_.after);
      const int64_t last = std::min(channels - 1, c + window_.before);
      float sum = 0;
      for (int64_t j = first; j <= last; ++j) sum += pull[j];
      dx[c] -= factor * x[c] * sum;
    }
  }

  const Window window_;
};

}  // namespace

KernelPointer local_response_norm_kernel(const Call& call) {
  return std::make_unique<LocalResponseNorm>(call, false);
}
KernelPointer local_response_norm_backward_kernel(const Call& call) {
  return std::make_unique<LocalResponseNorm>(call, true);
}

}  // namespace secateur
