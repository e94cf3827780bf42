// Element by element: relu, additions, conversions, gates.

#include <algorithm>
#include <cstring>

#include "cpu/channels/tables.h"
#include "cpu/kernels.h"
#include "cpu/parts.h"

namespace secateur {

namespace {

// Which of a ChannelSweep's pointers the inputs are.
enum class Layout { x, x_second, second_output };

class Elementwise final : public Kernel {
 public:
  Elementwise(void (*pass)(const ChannelSweep&), Layout layout, int64_t elements, bool bf16,
              bool relu)
      : pass_(pass), layout_(layout), elements_(elements), bf16_(bf16), relu_(relu) {}

  int64_t parts() const override { return parts_of_pass(elements_ / kFlatUnit, elements_); }

  void run(const Slice& slice) const override {
    const Range mine = part_of(slice.images * elements_, kFlatUnit, slice);
    const auto from = [&](void* base) { return element_at(base, bf16_, mine.first); };
    ChannelSweep sweep{};
    sweep.bf16 = bf16_;
    sweep.elements = mine.count();
    sweep.relu = relu_;
    sweep.y = from(slice.outputs[0]);
    if (layout_ == Layout::second_output) {
      sweep.second = from(slice.inputs[0]);
      sweep.output = from(slice.inputs[1]);
    } else {
      sweep.x = from(slice.inputs[0]);
      if (layout_ == Layout::x_second) sweep.second = from(slice.inputs[1]);
    }
    pass_(sweep);
  }

 private:
  void (*const pass_)(const ChannelSweep&);
  const Layout layout_;
  const int64_t elements_;
  const bool bf16_, relu_;
};

class Cast final : public Kernel {
 public:
  Cast(int64_t elements, bool from_bf16, bool to_bf16)
      : vectors_(vector_kernels()), elements_(elements), from_bf16_(from_bf16), to_bf16_(to_bf16) {}

  void run(const Slice& slice) const override {
    const int64_t count = slice.images * elements_;
    const void* const x = slice.inputs[0];
    void* const y = slice.outputs[0];
    if (from_bf16_ == to_bf16_) {
      std::memcpy(y, x, static_cast<size_t>(count) * (from_bf16_ ? 2 : 4));
    } else if (from_bf16_) {
      vectors_.widen(static_cast<const bfloat16*>(x), count, static_cast<float*>(y));
    } else {
      vectors_.narrow(static_cast<const float*>(x), count, static_cast<bfloat16*>(y));
    }
  }

 private:
  const VectorKernels& vectors_;
  const int64_t elements_;
  const bool from_bf16_, to_bf16_;
};

// Coalitions stacked as one batch: a run of images shares one row of gates.
class Gate final : public Kernel {
 public:
  Gate(const Extents& extents, bool bf16, int64_t sources, int64_t images, int64_t rows)
      : vectors_(vector_kernels()), elements_(extents.elements()), channels_(extents.channels),
        bf16_(bf16), repeats_(sources < images), sources_(sources), images_per_row_(images / rows),
        tables_(vectors_, extents.channels, 1, 0) {}

  int64_t scratch_bytes() const override { return tables_.scratch_bytes(); }

  void run(const Slice& slice) const override {
    const auto* const gates = static_cast<const float*>(slice.inputs[1]);
    int64_t filled = -1;
    for (int64_t image = 0; image < slice.images; ++image) {
      const int64_t global = slice.first_image + image, row = global / images_per_row_;
      if (row != filled) {
        tables_.fill(slice.scratch, 0, [&](int64_t c) { return gates[row * channels_ + c]; });
        filled = row;
      }
      ChannelSweep sweep = tables_.sweep(slice.scratch, bf16_, elements_);
      sweep.x = element(slice.inputs[0], repeats_ ? global % sources_ : image);
      sweep.y = element(slice.outputs[0], image);
      vectors_.multiply(sweep);
    }
  }

 private:
  void* element(void* base, int64_t image) const {
    return static_cast<std::byte*>(base) + image * elements_ * (bf16_ ? 2 : 4);
  }

  const VectorKernels& vectors_;
  const int64_t elements_, channels_;
  const bool bf16_, repeats_;
  const int64_t sources_, images_per_row_;
  const ChannelTables tables_;
};

KernelPointer elementwise(const Call& call, void (*pass)(const ChannelSweep&), Layout layout,
                          bool relu) {
  const Value& first = *call.input(0);
  return std::make_unique<Elementwise>(pass, layout, first.elements(), is_bf16(first), relu);
}

}  // namespace

KernelPointer relu_kernel(const Call& call) {
  return elementwise(call, vector_kernels().relu, Layout::x, true);
}

KernelPointer relu_backward_kernel(const Call& call) {
  return elementwise(call, vector_kernels().relu_backward, Layout::second_output, false);
}

KernelPointer add_kernel(const Call& call) {
  return elementwise(call, vector_kernels().add, Layout::x_second, call.integer(0) == 1);
}

KernelPointer cast_kernel(const Call& call) {
  return std::make_unique<Cast>(call.input(0)->elements(), is_bf16(*call.input(0)),
                                is_bf16(*call.output(0)));
}

KernelPointer gate_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  const int64_t rows = call.input(1)->elements() / extents.channels;
  return std::make_unique<Gate>(extents, is_bf16(*call.input(0)), call.input(0)->images,
                                call.entry.images, rows);
}

}  // namespace secateur
