// Gradients of weights: tiles of x against tiles of dy, 4x4 filters that give 3x3 outputs. Products
// add up over a slice in the transformed domain; a slice leaves one Planes of [in, out] for each tap.

#include "winograd_gradient.h"

#include <algorithm>
#include <vector>

#include "cpu/parts.h"
#include "winograd_shape.h"

namespace secateur::winograd {

namespace {

int64_t block_tiles(const Tiling& c) {
  const int64_t per_tile =
      kElements * 4 * (padded_channels(c.source_channels) + padded_channels(c.result_channels));
  constexpr int64_t kBlockBytes = 512 << 10;
  return std::clamp<int64_t>(kBlockBytes / per_tile, 16, 64);
}

class Gradient final : public Kernel {
 public:
  Gradient(const Tiling& tiling, bool x_bf16, bool dy_bf16, bool bias)
      : tiling_(tiling),
        source_{block_tiles(tiling), tiling.source_channels},
        result_{block_tiles(tiling), tiling.result_channels},
        rows_((tiling.source_channels + 7) / 8 * 8),
        x_bf16_(x_bf16),
        dy_bf16_(dy_bf16),
        bias_(bias) {}

  int64_t scratch_bytes() const override {
    return 4 * (tiling_.padded_elements() + padded_dy() + source_.floats() +
                result_.floats() + kElements * product());
  }

  int64_t partial_bytes() const override { return 4 * 9 * product() + 8 * result_.row(); }

  void run(const Slice& slice) const override {
    const Scratch at(*this, slice);
    bool started = false;
    int64_t count = 0;
    std::fill_n(at.bias, result_.row(), 0.0);
    const auto flush = [&] {
      for (int64_t e = 0; e < kElements; ++e) {
        correlate({at.products + e * product(), rows_ * 16}, source_.of(at.source, e),
                  result_.of(at.result, e), rows_, result_.row(), count, started);
      }
      started = true;
      count = 0;
    };
    const int64_t columns = tiling_.tile_columns();
    const int64_t x_stride = tiling_.padded_columns() * source_.row();
    const int64_t dy_stride = columns * kTile * result_.row();
    for (int64_t image = 0; image < slice.images; ++image) {
      pad(slice, image, at);
      for (int64_t tile = 0; tile < tiling_.tiles(); ++tile) {
        const int64_t row = tile / columns * kTile, column = tile % columns * kTile;
        transform_input(source_.of(at.source, 0).at(0, count), source_.stride(),
                        at.x + row * x_stride + column * source_.row(), x_stride, source_.row());
        transform_gradient(result_.of(at.result, 0).at(0, count), result_.stride(),
                           at.dy + row * dy_stride + column * result_.row(), dy_stride,
                           result_.row());
        if (++count == source_.tiles) flush();
      }
    }
    if (count > 0) flush();
    transform_weights_gradient(static_cast<float*>(slice.partial), product(), at.products,
                               product(), product());
  }

  void combine(const Partials& partials) const override {
    const int64_t in = tiling_.source_channels, out = tiling_.result_channels;
    float* const dw = static_cast<float*>(partials.outputs[0]);
    std::vector<float> sums(static_cast<size_t>(product()));
    for (int64_t tap = 0; tap < 9; ++tap) {
      std::copy_n(partials.of<float>(0) + tap * product(), product(), sums.data());
      for (int64_t s = 1; s < partials.slices; ++s) {
        const float* const from = partials.of<float>(s) + tap * product();
        for (int64_t i = 0; i < product(); ++i) sums[i] += from[i];
      }
      for (int64_t o = 0; o < out; ++o) {
        const float* const from = sums.data() + o / 16 * rows_ * 16 + o % 16;
        for (int64_t i = 0; i < in; ++i) dw[(o * in + i) * 9 + tap] = from[i * 16];
      }
    }
    if (!bias_) return;
    for (int64_t o = 0; o < out; ++o) {
      double sum = 0;
      for (int64_t s = 0; s < partials.slices; ++s) {
        sum += reinterpret_cast<const double*>(partials.of<float>(s) + 9 * product())[o];
      }
      static_cast<float*>(partials.outputs[1])[o] = static_cast<float>(sum);
    }
  }

 private:
  // Of one element: [in, rounded up to 8][padded out].
  int64_t product() const { return rows_ * result_.row(); }
  int64_t padded_dy() const { return tiling_.tiles() * kTile * kTile * result_.row(); }

  struct Scratch {
    float *x, *dy, *source, *result, *products;
    double* bias;  // sums of dy

    Scratch(const Gradient& g, const Slice& slice)
        : x(static_cast<float*>(slice.scratch)),
          dy(x + g.tiling_.padded_elements()),
          source(dy + g.padded_dy()),
          result(source + g.source_.floats()),
          products(result + g.result_.floats()),
          bias(reinterpret_cast<double*>(static_cast<float*>(slice.partial) + 9 * g.product())) {}
  };

  void pad(const Slice& slice, int64_t image, const Scratch& at) const {
    const Tiling& c = tiling_;
    void* const x = element_at(slice.inputs[0], x_bf16_, image * c.source_elements());
    void* const dy = element_at(slice.inputs[1], dy_bf16_, image * c.result_elements());
    pad_image(at.x, c.padded_rows(), c.padded_columns(), c.top, c.left,
              {x, x_bf16_, c.source_height, c.source_width, c.source_channels});
    pad_image(at.dy, c.tile_rows() * kTile, c.tile_columns() * kTile, 0, 0,
              {dy, dy_bf16_, c.result_height, c.result_width, c.result_channels});
    if (!bias_) return;
    const int64_t row = result_.row();
    for (const float* dy = at.dy; dy < at.dy + padded_dy(); dy += row) {
      for (int64_t o = 0; o < row; ++o) at.bias[o] += dy[o];
    }
  }

  const Tiling tiling_;
  const Elements source_, result_;
  const int64_t rows_;
  const bool x_bf16_, dy_bf16_, bias_;
};

}  // namespace

std::unique_ptr<Kernel> weights_gradient(const Call& call) {
  if (!is_served(parse_precision(call.integer(ConvolutionShape::kInts)))) return nullptr;
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  const auto tiling = Tiling::of(shape, false);
  // Here transforms weigh more than in the other directions.
  constexpr int64_t kFewestFilters = 144;
  if (shape.in_channels * shape.out_channels < kFewestFilters) return nullptr;
  if (!tiling) return nullptr;
  call.require_input(0, {shape.in_height, shape.in_width, shape.in_channels});
  call.require_input(1, {shape.out_height, shape.out_width, shape.out_channels});
  call.require_output(0, shape.weight_shape());
  call.require_output(1, {shape.out_channels});
  return std::make_unique<Gradient>(*tiling, is_bf16(*call.input(0)), is_bf16(*call.input(1)),
                                    call.output(1) != nullptr);
}

}  // namespace secateur::winograd
