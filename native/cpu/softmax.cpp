// Softmax over the channels of each pixel, and its gradient.

#include <cmath>

#include "cpu/kernels.h"
#include "cpu/pixels.h"

namespace secateur {

namespace {

class Softmax final : public Kernel {
 public:
  Softmax(const Value& x, const Extents& extents, bool backward)
      : pixels_(x, extents.channels), count_(extents.pixels()), backward_(backward) {}

  int64_t scratch_bytes() const override {
    return 3 * pixels_.channels() * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const override {
    const int64_t channels = pixels_.channels();
    float* const room = static_cast<float*>(slice.scratch);
    float* const result = room + 2 * channels;
    for (int64_t pixel = 0; pixel < slice.images * count_; ++pixel) {
      const float* const first = pixels_.read(slice.inputs[0], pixel, room);
      if (backward_) {
        gradient(first, pixels_.read(slice.inputs[1], pixel, room + channels), result);
      } else {
        shares(first, result);
      }
      pixels_.write(slice.outputs[0], pixel, result);
    }
  }

 private:
  void shares(const float* x, float* y) const {
    const int64_t channels = pixels_.channels();
    const float largest = *std::max_element(x, x + channels);
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
      y[c] = std::exp(x[c] - largest);
      sum += static_cast<double>(y[c]);
    }
    const auto share = static_cast<float>(1 / sum);
    for (int64_t c = 0; c < channels; ++c) y[c] *= share;
  }

  void gradient(const float* dy, const float* y, float* dx) const {
    const int64_t channels = pixels_.channels();
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) {
      sum += static_cast<double>(dy[c]) * static_cast<double>(y[c]);
    }
    for (int64_t c = 0; c < channels; ++c) dx[c] = y[c] * (dy[c] - static_cast<float>(sum));
  }

  const Pixels pixels_;
  const int64_t count_;
  const bool backward_;
};

KernelPointer make(const Call& call, bool backward) {
  const Extents extents = call.input_extents(0);
  if (backward) call.require_input(1, call.input(0)->shape);
  call.require_output(0, call.input(0)->shape);
  return std::make_unique<Softmax>(*call.input(0), extents, backward);
}

}  // namespace

KernelPointer softmax_kernel(const Call& call) { return make(call, false); }
KernelPointer softmax_backward_kernel(const Call& call) { return make(call, true); }

}  // namespace secateur
