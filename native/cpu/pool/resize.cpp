// Interpolation between rows and columns, and its gradient.

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/pixels.h"
#include "error.h"

namespace secateur {

namespace {

struct ResizeShape {
  int64_t in_height, in_width, channels, out_height, out_width, taps;
};

// The tables are fed at run time, so they are checked there.
void check(const int32_t* indices, int64_t count, int64_t extent) {
  for (int64_t i = 0; i < count; ++i) {
    if (indices[i] >= 0 && indices[i] < extent) continue;
    throw Error("program-invalid", "Expected rows and columns to resize from between 0 and " +
                                       std::to_string(extent - 1) + ", found " +
                                       std::to_string(indices[i]) + ".");
  }
}

class Resize final : public Kernel {
 public:
  Resize(const Value& x, const ResizeShape& shape, bool backward)
      : pixels_(x, shape.channels), shape_(shape), backward_(backward) {}

  int64_t scratch_bytes() const override {
    // A pixel to read and one to write, or the gradient of a whole picture.
    const int64_t pixels = backward_ ? 1 + shape_.in_height * shape_.in_width : 2;
    return pixels * shape_.channels * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const override {
    const auto* const rows = static_cast<const int32_t*>(slice.inputs[1]);
    const auto* const columns = static_cast<const int32_t*>(slice.inputs[3]);
    check(rows, shape_.out_height * shape_.taps, shape_.in_height);
    check(columns, shape_.out_width * shape_.taps, shape_.in_width);
    for (int64_t image = 0; image < slice.images; ++image) {
      backward_ ? gather(slice, image) : spread(slice, image);
    }
  }

 private:
  // visit(pixel of the picture, share) for the taps of one output.
  template <class Visit>
  void each_tap(const Slice& slice, int64_t row, int64_t column, Visit visit) const {
    const auto* const rows = static_cast<const int32_t*>(slice.inputs[1]) + row * shape_.taps;
    const auto* const row_shares = static_cast<const float*>(slice.inputs[2]) + row * shape_.taps;
    const auto* const columns = static_cast<const int32_t*>(slice.inputs[3]) + column * shape_.taps;
    const auto* const column_shares =
        static_cast<const float*>(slice.inputs[4]) + column * shape_.taps;
    for (int64_t p = 0; p < shape_.taps; ++p) {
      for (int64_t q = 0; q < shape_.taps; ++q) {
        const float share = row_shares[p] * column_shares[q];
        if (share != 0) visit(rows[p] * shape_.in_width + columns[q], share);
      }
    }
  }

  void spread(const Slice& slice, int64_t image) const {
    const int64_t channels = shape_.channels;
    float* const room = static_cast<float*>(slice.scratch);
    float* const sums = room + channels;
    const int64_t first = image * shape_.in_height * shape_.in_width;
    for (int64_t i = 0; i < shape_.out_height * shape_.out_width; ++i) {
      std::fill_n(sums, channels, 0.0f);
      each_tap(slice, i / shape_.out_width, i % shape_.out_width, [&](int64_t pixel, float share) {
        const float* const x = pixels_.read(slice.inputs[0], first + pixel, room);
        for (int64_t c = 0; c < channels; ++c) sums[c] += share * x[c];
      });
      pixels_.write(slice.outputs[0], image * shape_.out_height * shape_.out_width + i, sums);
    }
  }

  void gather(const Slice& slice, int64_t image) const {
    const int64_t channels = shape_.channels, inside = shape_.in_height * shape_.in_width;
    float* const room = static_cast<float*>(slice.scratch);
    float* const sums = room + channels;
    std::fill_n(sums, inside * channels, 0.0f);
    const int64_t first = image * shape_.out_height * shape_.out_width;
    for (int64_t i = 0; i < shape_.out_height * shape_.out_width; ++i) {
      const float* const dy = pixels_.read(slice.inputs[0], first + i, room);
      each_tap(slice, i / shape_.out_width, i % shape_.out_width, [&](int64_t pixel, float share) {
        float* const to = sums + pixel * channels;
        for (int64_t c = 0; c < channels; ++c) to[c] += share * dy[c];
      });
    }
    for (int64_t pixel = 0; pixel < inside; ++pixel) {
      pixels_.write(slice.outputs[0], image * inside + pixel, sums + pixel * channels);
    }
  }

  const Pixels pixels_;
  const ResizeShape shape_;
  const bool backward_;
};

KernelPointer make(const Call& call, bool backward) {
  const ResizeShape s{call.integer(0), call.integer(1), call.integer(2),
                      call.integer(3), call.integer(4), call.integer(5)};
  return std::make_unique<Resize>(*call.input(0), s, backward);
}

}  // namespace

KernelPointer resize_kernel(const Call& call) { return make(call, false); }
KernelPointer resize_backward_kernel(const Call& call) { return make(call, true); }

}  // namespace secateur
