// Max and average pooling and their gradients, a picture at a time.

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/parts.h"
#include "cpu/simd/vector_kernels.h"
#include "error.h"

namespace secateur {

namespace {

int64_t in_elements(const PoolSweep& p) { return p.in_height * p.in_width * p.channels; }
int64_t out_elements(const PoolSweep& p) { return p.out_height * p.out_width * p.channels; }

// The part of one output's window that lies inside the picture.
struct Cells {
  int64_t top, bottom, left, right;
  Cells(const PoolSweep& p, int64_t row, int64_t column)
      : top(std::max<int64_t>(0, row * p.stride_height - p.pad_top)),
        bottom(std::min(p.in_height, row * p.stride_height - p.pad_top + p.kernel_height)),
        left(std::max<int64_t>(0, column * p.stride_width - p.pad_left)),
        right(std::min(p.in_width, column * p.stride_width - p.pad_left + p.kernel_width)) {}
};

class Pool final : public Kernel {
 public:
  Pool(const PoolSweep& sweep, bool maximum)
      : vectors_(vector_kernels()), sweep_(sweep), maximum_(maximum) {}

  int64_t parts() const override {
    const int64_t cells = out_elements(sweep_) * sweep_.kernel_height * sweep_.kernel_width;
    return parts_for(sweep_.out_height, 8 * cells);
  }

  void run(const Slice& slice) const override {
    // Rows from another on are what a picture with less padding above has.
    const Range rows = part_of(sweep_.out_height, 1, slice);
    PoolSweep sweep = sweep_;
    sweep.out_height = rows.count();
    sweep.pad_top -= rows.first * sweep.stride_height;
    const int64_t skipped = rows.first * sweep.out_width * sweep.channels;
    for (int64_t image = 0; image < slice.images; ++image) {
      const int64_t first = image * out_elements(sweep_) + skipped;
      const void* const x = element_at(slice.inputs[0], sweep.bf16, image * in_elements(sweep));
      void* const y = element_at(slice.outputs[0], sweep.bf16, first);
      if (!maximum_) {
        vectors_.average_pool(sweep, x, y);
        continue;
      }
      auto* winners = static_cast<int32_t*>(slice.outputs[1]);
      if (winners != nullptr) winners += first;
      vectors_.max_pool(sweep, x, y, winners);
    }
  }

 private:
  const VectorKernels& vectors_;
  const PoolSweep sweep_;
  const bool maximum_;
};

// Windows may overlap, so gradients add up in f32 whatever the type they are stored in.
class PoolBackward final : public Kernel {
 public:
  PoolBackward(const PoolSweep& sweep, bool maximum)
      : vectors_(vector_kernels()), sweep_(sweep), maximum_(maximum) {}

  int64_t scratch_bytes() const override {
    const int64_t floats = sweep_.bf16 ? in_elements(sweep_) + out_elements(sweep_) : 0;
    return floats * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const override {
    for (int64_t image = 0; image < slice.images; ++image) {
      void* const dx = element_at(slice.outputs[0], sweep_.bf16, image * in_elements(sweep_));
      const void* const dy = element_at(slice.inputs[0], sweep_.bf16, image * out_elements(sweep_));
      float* const sums =
          sweep_.bf16 ? static_cast<float*>(slice.scratch) : static_cast<float*>(dx);
      const float* wide = static_cast<const float*>(dy);
      if (sweep_.bf16) {
        float* const to = sums + in_elements(sweep_);
        vectors_.widen(static_cast<const bfloat16*>(dy), out_elements(sweep_), to);
        wide = to;
      }
      std::fill_n(sums, in_elements(sweep_), 0.0f);
      if (maximum_) {
        scatter(wide, static_cast<const int32_t*>(slice.inputs[1]) + image * out_elements(sweep_),
                sums);
      } else {
        spread(wide, sums);
      }
      if (sweep_.bf16) vectors_.narrow(sums, in_elements(sweep_), static_cast<bfloat16*>(dx));
    }
  }

 private:
  void scatter(const float* dy, const int32_t* winners, float* dx) const {
    const PoolSweep& p = sweep_;
    for (int64_t row = 0; row < p.out_height; ++row) {
      for (int64_t column = 0; column < p.out_width; ++column) {
        for (int64_t c = 0; c < p.channels; ++c, ++dy, ++winners) {
          const int64_t i = row * p.stride_height - p.pad_top + *winners / p.kernel_width;
          const int64_t j = column * p.stride_width - p.pad_left + *winners % p.kernel_width;
          if (i < 0 || i >= p.in_height || j < 0 || j >= p.in_width) refuse(*winners);
          dx[(i * p.in_width + j) * p.channels + c] += *dy;
        }
      }
    }
  }

  [[noreturn]] static void refuse(int32_t winner) {
    throw Error("program-invalid", "Expected the winners that max_pool wrote, found cell " +
                                       std::to_string(winner) + ", which is outside the picture.");
  }

  void spread(const float* dy, float* dx) const {
    const PoolSweep& p = sweep_;
    for (int64_t row = 0; row < p.out_height; ++row) {
      for (int64_t column = 0; column < p.out_width; ++column, dy += p.channels) {
        const Cells cells(p, row, column);
        const int64_t inside = (cells.bottom - cells.top) * (cells.right - cells.left);
        const int64_t count = p.count_padding ? p.kernel_height * p.kernel_width : inside;
        const float share = 1.0f / static_cast<float>(std::max<int64_t>(1, count));
        for (int64_t i = cells.top; i < cells.bottom; ++i) {
          for (int64_t j = cells.left; j < cells.right; ++j) {
            float* const to = dx + (i * p.in_width + j) * p.channels;
            for (int64_t c = 0; c < p.channels; ++c) to[c] += dy[c] * share;
          }
        }
      }
    }
  }

  const VectorKernels& vectors_;
  const PoolSweep sweep_;
  const bool maximum_;
};

PoolSweep parse(const Call& call, bool maximum) {
  return {Window::parse(call, maximum), is_bf16(*call.input(0))};
}

KernelPointer forward(const Call& call, bool maximum) {
  return std::make_unique<Pool>(parse(call, maximum), maximum);
}

KernelPointer backward(const Call& call, bool maximum) {
  return std::make_unique<PoolBackward>(parse(call, maximum), maximum);
}

}  // namespace

KernelPointer max_pool_kernel(const Call& call) { return forward(call, true); }
KernelPointer average_pool_kernel(const Call& call) { return forward(call, false); }
KernelPointer max_pool_backward_kernel(const Call& call) { return backward(call, true); }
KernelPointer average_pool_backward_kernel(const Call& call) { return backward(call, false); }

}  // namespace secateur
