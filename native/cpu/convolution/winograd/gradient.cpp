// Gradients of weights: tiles of x against tiles of dy, 4x4 filters that give 3x3 outputs. Products
// add up over a slice in the transformed domain; a slice leaves a matrix [in, out] for each tap.

#include "cpu/convolution/winograd/gradient.h"

#include <algorithm>
#include <vector>

#include "cpu/convolution/winograd/shape.h"
#include "cpu/parts.h"

namespace secateur::winograd {

namespace {

// Measured: more than a convolution's, for sums of products are read and written once a block.
constexpr int64_t kBlockBytes = 448 << 10;

class Gradient final : public Kernel {
 public:
  Gradient(const Tiling& tiling, bool x_bf16, bool dy_bf16, bool bias)
      : tiling_(tiling),
        source_{tiling.block_tiles(kBlockBytes), tiling.source_channels},
        result_{tiling.block_tiles(kBlockBytes), tiling.result_channels},
        x_bf16_(x_bf16),
        dy_bf16_(dy_bf16),
        bias_(bias) {}

  int64_t scratch_bytes() const override {
    return 4 * (source_.floats() + result_.floats() + kElements * product());
  }

  int64_t partial_bytes() const override { return 4 * 9 * product() + 8 * columns(); }

  void run(const Slice& slice) const override {
    const Scratch scratch(*this, slice);
    std::fill_n(scratch.bias, columns(), 0.0);
    const int64_t total = slice.images * tiling_.tiles();
    TileWalk walk(tiling_, {0, tiling_.tile_rows()});
    for (int64_t done = 0; done < total; done += source_.tiles) {
      const int64_t count = std::min(total - done, source_.tiles);
      for (int64_t i = 0; i < count; ++i, walk.next()) {
        transform_input(scratch.sources.at(0, i), x_image(slice, walk.image()),
                        walk.row() - tiling_.top, walk.column() - tiling_.left);
        transform_gradient(scratch.results.at(0, i), dy_image(slice, walk.image()), walk.row(),
                           walk.column());
        if (bias_) add_sums(scratch.bias, scratch.results.at(0, i));
      }
      correlate(scratch.products, scratch.sources, scratch.results,
                {count, tiling_.source_channels, tiling_.result_channels}, done > 0);
    }
    transform_weights_gradient(static_cast<float*>(slice.partial), product(), scratch.products,
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
        const float* const from = sums.data() + o / 16 * in * 16 + o % 16;
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
  int64_t columns() const { return padded_channels(tiling_.result_channels); }
  // Of one element: [padded out / 16][in][16].
  int64_t product() const { return tiling_.source_channels * columns(); }

  struct Scratch {
    Tiles sources, results;
    float* products;
    double* bias;  // sums of dy

    Scratch(const Gradient& g, const Slice& slice)
        : sources(g.source_.at(static_cast<float*>(slice.scratch))),
          results(g.result_.at(sources.values + g.source_.floats())),
          products(results.values + g.result_.floats()),
          bias(reinterpret_cast<double*>(static_cast<float*>(slice.partial) + 9 * g.product())) {}
  };

  Image x_image(const Slice& slice, int64_t image) const {
    return {element_at(slice.inputs[0], x_bf16_, image * tiling_.source_elements()), x_bf16_,
            tiling_.source_height, tiling_.source_width, tiling_.source_channels};
  }

  Image dy_image(const Slice& slice, int64_t image) const {
    return {element_at(slice.inputs[1], dy_bf16_, image * tiling_.result_elements()), dy_bf16_,
            tiling_.result_height, tiling_.result_width, tiling_.result_channels};
  }

  void add_sums(double* sums, const Tiles& tile) const {
    for (int64_t o = 0; o < tiling_.result_channels; ++o) {
      sums[o] += tile.at(o, 0).values[kSumElement * 16 + o % 16];
    }
  }

  const Tiling tiling_;
  const TileRoom source_, result_;
  const bool x_bf16_, dy_bf16_, bias_;
};

}  // namespace

std::unique_ptr<Kernel> weights_gradient(const Call& call) {
  if (!is_served(parse_precision(call.integer(ConvolutionShape::kInts)))) return nullptr;
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  const auto tiling = Tiling::of(shape, false);
  if (!tiling) return nullptr;
  return std::make_unique<Gradient>(*tiling, is_bf16(*call.input(0)), is_bf16(*call.input(1)),
                                    call.output(1) != nullptr);
}

}  // namespace secateur::winograd
