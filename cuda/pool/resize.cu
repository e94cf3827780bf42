// Interpolation between rows and columns, and its gradient: a thread for every result.

#include "device/launch.h"
#include "device/number.h"
#include "error.h"
#include "kernels.h"

namespace secateur::cuda {

namespace resize {

struct Shape {
  int in_height, in_width, channels, out_height, out_width, taps;
};

// See resize in operations.def.
struct Tables {
  const int32_t* rows;
  const float* row_shares;
  const int32_t* columns;
  const float* column_shares;
};

template <class T>
struct Forward {
  Shape g;
  Tables t;
  const T* x;
  T* y;

  __device__ void operator()(int64_t i) const {
    const int64_t channel = i % g.channels, pixel = i / g.channels;
    const int column = static_cast<int>(pixel % g.out_width) * g.taps;
    const int row = static_cast<int>(pixel / g.out_width % g.out_height) * g.taps;
    const int64_t image = pixel / g.out_width / g.out_height;
    float sum = 0;
    for (int p = row; p < row + g.taps; ++p) {
      for (int q = column; q < column + g.taps; ++q) {
        const float share = t.row_shares[p] * t.column_shares[q];
        const int from_row = t.rows[p], from_column = t.columns[q];
        const bool inside = from_row >= 0 && from_row < g.in_height && from_column >= 0 &&
                            from_column < g.in_width;
        if (share == 0 || !inside) continue;
        const int64_t from = (image * g.in_height + from_row) * g.in_width + from_column;
        sum = fmaf(share, to_float(x[from * g.channels + channel]), sum);
      }
    }
    y[i] = stored<T>(sum);
  }
};

// Gathers from the outputs whose taps name this pixel, in their order.
template <class T>
struct Backward {
  Shape g;
  Tables t;
  const T* dy;
  T* dx;

  __device__ void operator()(int64_t i) const {
    const int64_t pixel = i / g.channels, image = pixel / (int64_t{g.in_height} * g.in_width);
    const int row = static_cast<int>(pixel / g.in_width % g.in_height);
    const T* const from = dy + image * g.out_height * g.out_width * g.channels + i % g.channels;
    float sum = 0;
    for (int p = 0; p < g.out_height * g.taps; ++p) {
      const float share = t.row_shares[p];
      if (t.rows[p] != row || share == 0) continue;
      const int64_t line = static_cast<int64_t>(p / g.taps) * g.out_width * g.channels;
      sum += share * along_line(from + line, static_cast<int>(pixel % g.in_width));
    }
    dx[i] = stored<T>(sum);
  }

 private:
  // What a line of outputs passes back to a column.
  __device__ float along_line(const T* line, int column) const {
    float sum = 0;
    for (int output = 0, q = 0; output < g.out_width; ++output, line += g.channels) {
      for (int tap = 0; tap < g.taps; ++tap, ++q) {
        if (t.columns[q] == column) sum = fmaf(t.column_shares[q], to_float(*line), sum);
      }
    }
    return sum;
  }
};

// Reports indices outside the picture, with the extent they should keep to.
struct CheckIndices {
  const int32_t* indices;
  int extent;
  unsigned long long* report;

  __device__ void operator()(int64_t i) const {
    if (indices[i] >= 0 && indices[i] < extent) return;
    atomicMin(report, static_cast<unsigned long long>(extent) << 32 |
                          static_cast<uint32_t>(indices[i]));
  }
};

class Resize final : public Kernel {
 public:
  Resize(const Shape& shape, bool bf16, bool backward)
      : shape_(shape), bf16_(bf16), backward_(backward) {}

  void run(const Slice& s) const override {
    const Shape& g = shape_;
    const Tables tables{as<int32_t>(s.inputs[1]), as<float>(s.inputs[2]),
                        as<int32_t>(s.inputs[3]), as<float>(s.inputs[4])};
    for_each(s.stream, int64_t{g.out_height} * g.taps,
             CheckIndices{tables.rows, g.in_height, s.report});
    for_each(s.stream, int64_t{g.out_width} * g.taps,
             CheckIndices{tables.columns, g.in_width, s.report});
    with_number(bf16_, [&](auto number) {
      using T = decltype(number);
      const int64_t in = s.images * g.in_height * g.in_width * g.channels;
      const int64_t out = s.images * g.out_height * g.out_width * g.channels;
      if (backward_) {
        for_each(s.stream, in,
                 Backward<T>{g, tables, as<T>(s.inputs[0]), as<T>(s.outputs[0])});
      } else {
        for_each(s.stream, out,
                 Forward<T>{g, tables, as<T>(s.inputs[0]), as<T>(s.outputs[0])});
      }
    });
  }

  bool reports() const override { return true; }
  Error refusal(unsigned long long report) const override {
    return {"program-invalid", "Expected rows and columns to resize from between 0 and " +
                                   std::to_string((report >> 32) - 1) + ", found " +
                                   std::to_string(static_cast<int32_t>(report)) + "."};
  }

 private:
  const Shape shape_;
  const bool bf16_, backward_;
};

KernelPointer make(const Call& call, bool backward) {
  constexpr int64_t kLargest = 1 << 24;
  for (size_t i = 0; i < 5; ++i) call.require_integer(i, 1, kLargest);
  const auto number = [&](size_t i) { return static_cast<int>(call.integer(i)); };
  const Shape s{number(0), number(1), number(2), number(3), number(4), number(5)};
  return std::make_unique<Resize>(s, is_bf16(*call.input(0)), backward);
}

}  // namespace resize

KernelPointer resize_kernel(const Call& call) { return resize::make(call, false); }
KernelPointer resize_backward_kernel(const Call& call) { return resize::make(call, true); }

}  // namespace secateur::cuda
