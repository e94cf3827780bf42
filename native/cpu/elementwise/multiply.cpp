// Products of two values, as squeeze-and-excitation takes them, and their gradients.

#include "cpu/channels/tables.h"
#include "cpu/elementwise/kernels.h"
#include "cpu/kernels.h"
#include "cpu/parts.h"

namespace secateur {

namespace {

class Product final : public Kernel {
 public:
  Product(int64_t elements, bool bf16)
      : pass_(element_kernels().product[bf16 ? 1 : 0]), elements_(elements) {}

  void run(const Slice& slice) const override {
    ElementSweep sweep{};
    sweep.elements = slice.images * elements_;
    sweep.x = slice.inputs[0];
    sweep.second = slice.inputs[1];
    sweep.y = slice.outputs[0];
    pass_(sweep);
  }

 private:
  const ElementPass pass_;
  const int64_t elements_;
};

// Every pixel of an image times the same numbers.
class ScaleChannels final : public Kernel {
 public:
  ScaleChannels(const Extents& extents, bool bf16)
      : vectors_(vector_kernels()), extents_(extents), bf16_(bf16),
        tables_(vectors_, extents.channels, 1, 0) {}

  int64_t scratch_bytes() const override { return tables_.scratch_bytes(); }

  int64_t parts() const override {
    return parts_of_pass(extents_.elements() / tables_.period(), extents_.elements());
  }

  void run(const Slice& slice) const override {
    const Range mine = part_of(extents_.elements(), tables_.period(), slice);
    for (int64_t image = 0; image < slice.images; ++image) {
      const void* const factors = element_at(slice.inputs[1], bf16_, image * extents_.channels);
      tables_.fill(slice.scratch, 0, [&](int64_t c) {
        return bf16_ ? to_float(static_cast<const bfloat16*>(factors)[c])
                     : static_cast<const float*>(factors)[c];
      });
      ChannelSweep sweep = tables_.sweep(slice.scratch, bf16_, mine.count());
      const int64_t first = image * extents_.elements() + mine.first;
      sweep.x = element_at(slice.inputs[0], bf16_, first);
      sweep.y = element_at(slice.outputs[0], bf16_, first);
      vectors_.multiply(sweep);
    }
  }

 private:
  const VectorKernels& vectors_;
  const Extents extents_;
  const bool bf16_;
  const ChannelTables tables_;
};

// Sums over the pixels of an image, channel by channel.
class ScaleChannelsBackward final : public Kernel {
 public:
  ScaleChannelsBackward(const Extents& extents, bool bf16)
      : vectors_(vector_kernels()), extents_(extents), bf16_(bf16),
        tables_(vectors_, extents.channels, 1, 2) {}

  int64_t scratch_bytes() const override { return tables_.scratch_bytes(); }

  void run(const Slice& slice) const override {
    tables_.fill(slice.scratch, 0, [](int64_t) { return 0.0f; });
    for (int64_t image = 0; image < slice.images; ++image) {
      tables_.clear_sums(slice.scratch);
      ChannelSweep sweep = tables_.sweep(slice.scratch, bf16_, extents_.elements());
      sweep.second = element_at(slice.inputs[0], bf16_, image * extents_.elements());
      sweep.x = element_at(slice.inputs[1], bf16_, image * extents_.elements());
      vectors_.normalise_backward_sums(sweep);
      void* const dx = element_at(slice.outputs[0], bf16_, image * extents_.channels);
      for (int64_t c = 0; c < extents_.channels; ++c) {
        const auto sum = static_cast<float>(tables_.sum_of(slice.scratch, 1, c));
        if (bf16_) {
          static_cast<bfloat16*>(dx)[c] = to_bfloat16(sum);
        } else {
          static_cast<float*>(dx)[c] = sum;
        }
      }
    }
  }

 private:
  const VectorKernels& vectors_;
  const Extents extents_;
  const bool bf16_;
  const ChannelTables tables_;
};

}  // namespace

KernelPointer multiply_kernel(const Call& call) {
  const Extents extents = call.input_extents(0), factors = call.input_extents(1);
  const bool bf16 = is_bf16(*call.input(0));
  if (factors.pixels() == 1 && extents.pixels() > 1) {
    return std::make_unique<ScaleChannels>(extents, bf16);
  }
  return std::make_unique<Product>(extents.elements(), bf16);
}

KernelPointer multiply_backward_kernel(const Call& call) {
  return std::make_unique<ScaleChannelsBackward>(call.input_extents(1), is_bf16(*call.input(0)));
}

}  // namespace secateur
