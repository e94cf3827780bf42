// Normalisation by the channels around each (Krizhevsky et al., NIPS 2012), and its gradient.

#include <cmath>

#include "cpu/kernels.h"
#include "cpu/pixels.h"

namespace secateur {

namespace {

struct Window {
  int64_t before, after;
  float share, beta, bias;  // share: alpha / size
};

class LocalResponseNorm final : public Kernel {
 public:
  LocalResponseNorm(const Value& x, const Extents& extents, const Window& window, bool backward)
      : pixels_(x, extents.channels), count_(extents.pixels()), window_(window),
        backward_(backward) {}

  int64_t scratch_bytes() const override {
    return 5 * pixels_.channels() * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const override {
    const int64_t channels = pixels_.channels();
    float* const room = static_cast<float*>(slice.scratch);
    float *const result = room + 2 * channels, *const base = room + 3 * channels,
                 *const pull = room + 4 * channels;
    for (int64_t pixel = 0; pixel < slice.images * count_; ++pixel) {
      const float* const x = pixels_.read(slice.inputs[backward_ ? 1 : 0], pixel, room);
      bases(x, base);
      if (backward_) {
        gradient(pixels_.read(slice.inputs[0], pixel, room + channels), x, base, pull, result);
      } else {
        for (int64_t c = 0; c < channels; ++c) result[c] = x[c] * std::pow(base[c], -window_.beta);
      }
      pixels_.write(slice.outputs[0], pixel, result);
    }
  }

 private:
  // bias + alpha / size * the sum of squares around each channel.
  void bases(const float* x, float* base) const {
    const int64_t channels = pixels_.channels();
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t first = std::max<int64_t>(0, c - window_.before);
      const int64_t last = std::min(channels - 1, c + window_.after);
      float sum = 0;
      for (int64_t j = first; j <= last; ++j) sum += x[j] * x[j];
      base[c] = window_.bias + window_.share * sum;
    }
  }

  // Channel j is in the window of those from j - after to j + before.
  void gradient(const float* dy, const float* x, const float* base, float* pull, float* dx) const {
    const int64_t channels = pixels_.channels();
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

  const Pixels pixels_;
  const int64_t count_;
  const Window window_;
  const bool backward_;
};

KernelPointer make(const Call& call, bool backward) {
  const Extents extents = call.input_extents(0);
  if (backward) call.require_input(1, call.input(0)->shape);
  call.require_output(0, call.input(0)->shape);
  call.require_integer(0, 1, 1 << 20);
  const int64_t size = call.integer(0), before = (size - 1) / 2;
  const Window window{before, size - 1 - before, call.real(0) / static_cast<float>(size),
                      call.real(1), call.real(2)};
  return std::make_unique<LocalResponseNorm>(*call.input(0), extents, window, backward);
}

}  // namespace

KernelPointer local_response_norm_kernel(const Call& call) { return make(call, false); }
KernelPointer local_response_norm_backward_kernel(const Call& call) { return make(call, true); }

}  // namespace secateur
