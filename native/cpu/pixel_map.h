// Kernels that make each pixel from the same pixel of the input, and their gradients.
#pragma once

#include "cpu/kernels.h"
#include "cpu/pixels.h"

namespace secateur {

// Forward, input 0 is x and output 0 is y. Backward, input 0 is dy, output 0 is dx, and input 1 is x
// or, where the gradient is had from that, y. All of them have one shape and one type.
class PixelMap : public Kernel {
 public:
  int64_t scratch_bytes() const final {
    return (3 + rows_) * channels() * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const final {
    float* const result = static_cast<float*>(slice.scratch);
    float *const first = result + channels(), *const second = first + channels(),
                 *const room = second + channels();
    for (int64_t pixel = 0; pixel < slice.images * count_; ++pixel) {
      const float* const given = pixels_.read(slice.inputs[0], pixel, first);
      if (backward_) {
        gradient(slice, given, pixels_.read(slice.inputs[1], pixel, second), result, room);
      } else {
        map(slice, given, result, room);
      }
      pixels_.write(slice.outputs[0], pixel, result);
    }
  }

 protected:
  // `rows`: how many times the channels' floats map() and gradient() need as room of their own.
  PixelMap(const Call& call, bool backward, int64_t rows = 0)
      : pixels_(*call.input(0), call.input_extents(0).channels),
        count_(call.input_extents(0).pixels()), rows_(rows), backward_(backward) {}

  int64_t channels() const { return pixels_.channels(); }

 private:
  virtual void map(const Slice& slice, const float* x, float* y, float* room) const = 0;
  virtual void gradient(const Slice& slice, const float* dy, const float* known, float* dx,
                        float* room) const = 0;

  const Pixels pixels_;
  const int64_t count_, rows_;
  const bool backward_;
};

}  // namespace secateur
