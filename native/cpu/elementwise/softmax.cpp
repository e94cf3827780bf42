// Softmax over the channels of each pixel, and its gradient.

#include <cmath>

#include "cpu/pixel_map.h"

namespace secateur {

namespace {

class Softmax final : public PixelMap {
 public:
  Softmax(const Call& call, bool backward) : PixelMap(call, backward) {}

 private:
  void map(const Slice&, const float* x, float* y, float*) const override {
    const int64_t channels = this->channels();
    const float largest = *std::max_element(x, x + channels);
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
      y[c] = std::exp(x[c] - largest);
      sum += static_cast<double>(y[c]);
    }
    const auto share = static_cast<float>(1 / sum);
    for (int64_t c = 0; c < channels; ++c) y[c] *= share;
  }

  void gradient(const Slice&, const float* dy, const float* y, float* dx, float*) const override {
    const int64_t channels = this->channels();
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
      sum += static_cast<double>(dy[c]) * static_cast<double>(y[c]);
    }
    for (int64_t c = 0; c < channels; ++c) dx[c] = y[c] * (dy[c] - static_cast<float>(sum));
  }
};

}  // namespace

KernelPointer softmax_kernel(const Call& call) { return std::make_unique<Softmax>(call, false); }
KernelPointer softmax_backward_kernel(const Call& call) {
  return std::make_unique<Softmax>(call, true);
}

}  // namespace secateur
