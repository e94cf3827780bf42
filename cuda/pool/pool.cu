// Max and average pooling, a thread for every result; gradients gather what the windows around each
// cell pass back, in the windows' order.

#include "device/launch.h"
#include "device/number.h"
#include "error.h"
#include "kernels.h"
#include "program/shapes/window.h"

namespace secateur::cuda {

namespace pool {

// A window in 32 bits: what Window::parse lets through fits.
struct Frame {
  int in_height, in_width, channels, out_height, out_width;
  int kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
  bool count_padding;

  explicit Frame(const Window& w)
      : in_height(number(w.in_height)), in_width(number(w.in_width)),
        channels(number(w.channels)), out_height(number(w.out_height)),
        out_width(number(w.out_width)), kernel_height(number(w.kernel_height)),
        kernel_width(number(w.kernel_width)), stride_height(number(w.stride_height)),
        stride_width(number(w.stride_width)), pad_top(number(w.pad_top)),
        pad_left(number(w.pad_left)), count_padding(w.count_padding) {}

  int64_t in_elements() const { return int64_t{in_height} * in_width * channels; }
  int64_t out_elements() const { return int64_t{out_height} * out_width * channels; }

 private:
  static int number(int64_t value) { return static_cast<int>(value); }
};

// The part of one output's window that lies inside the picture.
struct Cells {
  int top, bottom, left, right;

  __device__ Cells(const Frame& p, int row, int column) {
    top = row * p.stride_height - p.pad_top;
    bottom = top + p.kernel_height < p.in_height ? top + p.kernel_height : p.in_height;
    top = top < 0 ? 0 : top;
    left = column * p.stride_width - p.pad_left;
    right = left + p.kernel_width < p.in_width ? left + p.kernel_width : p.in_width;
    left = left < 0 ? 0 : left;
  }
};

// A value's place: image, row, column, channel.
struct Place {
  int64_t image;
  int row, column, channel;

  __device__ Place(int64_t i, int height, int width, int channels) {
    const int64_t pixel = i / channels;
    channel = static_cast<int>(i % channels);
    column = static_cast<int>(pixel % width);
    row = static_cast<int>(pixel / width % height);
    image = pixel / width / height;
  }
};

// Elements before a pixel's channel 0.
__device__ __forceinline__ int64_t offset_of(const Place& at, int height, int width, int channels,
                                             int row, int column) {
  return ((at.image * height + row) * width + column) * channels + at.channel;
}

template <class T>
struct MaxPool {
  Frame p;
  const T* x;
  T* y;
  int32_t* winners;  // or nullptr

  __device__ void operator()(int64_t i) const {
    const Place at(i, p.out_height, p.out_width, p.channels);
    const Cells cells(p, at.row, at.column);
    float largest = 0;
    int winner = -1;
    for (int row = cells.top; row < cells.bottom; ++row) {
      for (int column = cells.left; column < cells.right; ++column) {
        const int64_t from = offset_of(at, p.in_height, p.in_width, p.channels, row, column);
        const float value = to_float(x[from]);
        // The first of equals; a NaN wins and stays.
        if (winner >= 0 && !(value > largest) && !(value != value && largest == largest)) continue;
        largest = value;
        winner = (row - at.row * p.stride_height + p.pad_top) * p.kernel_width + column -
                 at.column * p.stride_width + p.pad_left;
      }
    }
    y[i] = stored<T>(largest);
    if (winners != nullptr) winners[i] = winner;
  }
};

// Divides by this.
__device__ __forceinline__ float share_of(const Frame& p, const Cells& cells) {
  const int inside = (cells.bottom - cells.top) * (cells.right - cells.left);
  const int count = p.count_padding ? p.kernel_height * p.kernel_width : inside;
  return 1.0f / static_cast<float>(count < 1 ? 1 : count);
}

template <class T>
struct AveragePool {
  Frame p;
  const T* x;
  T* y;

  __device__ void operator()(int64_t i) const {
    const Place at(i, p.out_height, p.out_width, p.channels);
    const Cells cells(p, at.row, at.column);
    float sum = 0;
    for (int row = cells.top; row < cells.bottom; ++row) {
      for (int column = cells.left; column < cells.right; ++column) {
        const int64_t from = offset_of(at, p.in_height, p.in_width, p.channels, row, column);
        sum += to_float(x[from]);
      }
    }
    y[i] = stored<T>(sum * share_of(p, cells));
  }
};

// The outputs along one axis whose windows hold a cell: [first, last).
struct Outputs {
  int first, last;

  __device__ Outputs(int at, int pad, int kernel, int stride, int outputs) {
    const int beyond = at + pad - kernel + 1;
    first = beyond <= 0 ? 0 : (beyond + stride - 1) / stride;
    last = (at + pad) / stride + 1;
    last = last < outputs ? last : outputs;
  }
};

template <class T>
struct PoolBackward {
  Frame p;
  const T* dy;
  const int32_t* winners;  // nullptr: average
  T* dx;

  __device__ void operator()(int64_t i) const {
    const Place at(i, p.in_height, p.in_width, p.channels);
    const Outputs rows(at.row, p.pad_top, p.kernel_height, p.stride_height, p.out_height);
    const Outputs columns(at.column, p.pad_left, p.kernel_width, p.stride_width, p.out_width);
    float sum = 0;
    for (int row = rows.first; row < rows.last; ++row) {
      for (int column = columns.first; column < columns.last; ++column) {
        const int64_t from = offset_of(at, p.out_height, p.out_width, p.channels, row, column);
        const float gradient = to_float(dy[from]);
        if (winners == nullptr) {
          sum += gradient * share_of(p, Cells(p, row, column));
          continue;
        }
        const int own = (at.row - row * p.stride_height + p.pad_top) * p.kernel_width +
                            at.column - column * p.stride_width + p.pad_left;
        if (winners[from] == own) sum += gradient;
      }
    }
    dx[i] = stored<T>(sum);
  }
};

// Reports winners that max_pool cannot have written: cells outside the picture.
struct CheckWinners {
  Frame p;
  const int32_t* winners;
  unsigned long long* report;

  __device__ void operator()(int64_t i) const {
    const Place at(i, p.out_height, p.out_width, p.channels);
    const int winner = winners[i];
    const int row = at.row * p.stride_height - p.pad_top + winner / p.kernel_width;
    const int column = at.column * p.stride_width - p.pad_left + winner % p.kernel_width;
    if (winner >= 0 && row >= 0 && row < p.in_height && column >= 0 && column < p.in_width) return;
    atomicMin(report, static_cast<unsigned long long>(static_cast<uint32_t>(winner)));
  }
};

class MaxPoolBackward final : public Kernel {
 public:
  MaxPoolBackward(const Window& window, bool bf16) : p_(window), bf16_(bf16) {}

  void run(const Slice& s) const override {
    for_each(s.stream, s.images * p_.out_elements(),
             CheckWinners{p_, as<int32_t>(s.inputs[1]), s.report});
    with_number(bf16_, [&](auto number) {
      using T = decltype(number);
      for_each(s.stream, s.images * p_.in_elements(),
               PoolBackward<T>{p_, as<T>(s.inputs[0]), as<int32_t>(s.inputs[1]),
                               as<T>(s.outputs[0])});
    });
  }

  bool reports() const override { return true; }
  Error refusal(unsigned long long report) const override {
    return {"program-invalid", "Expected the winners that max_pool wrote, found cell " +
                                   std::to_string(static_cast<int32_t>(report)) +
                                   ", which is outside the picture."};
  }

 private:
  const Frame p_;
  const bool bf16_;
};

}  // namespace pool

KernelPointer max_pool_kernel(const Call& call) {
  const pool::Frame frame(Window::parse(call, true));
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * frame.out_elements(),
               pool::MaxPool<T>{frame, as<T>(s.inputs[0]), as<T>(s.outputs[0]),
                                as<int32_t>(s.outputs[1])});
    });
  });
}

KernelPointer average_pool_kernel(const Call& call) {
  const pool::Frame frame(Window::parse(call, false));
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * frame.out_elements(),
               pool::AveragePool<T>{frame, as<T>(s.inputs[0]), as<T>(s.outputs[0])});
    });
  });
}

KernelPointer max_pool_backward_kernel(const Call& call) {
  return std::make_unique<pool::MaxPoolBackward>(Window::parse(call, true),
                                                 is_bf16(*call.input(0)));
}

KernelPointer average_pool_backward_kernel(const Call& call) {
  const pool::Frame frame(Window::parse(call, false));
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * frame.in_elements(),
               pool::PoolBackward<T>{frame, as<T>(s.inputs[0]), nullptr, as<T>(s.outputs[0])});
    });
  });
}

}  // namespace secateur::cuda
