// Gradients of convolution weights: per slice, sums over pixels of source x dy outer products, kept
// as [group][tap and input][output] f32; slices add up in f64.

#include <algorithm>
#include <cstring>

#include "cpu/convolution/shape.h"
#include "cpu/kernels.h"

namespace secateur {

namespace {

// One pass over all weights reads about as many source and dy rows as the first-level cache holds,
// but enough pixels to be worth loading and storing the sums.
constexpr int64_t kChunkBytes = 32 << 10;
constexpr int64_t kLeastPixels = 96;
constexpr int64_t kPointwiseBytes = 256 << 10;

int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Rows of pixels of the source and of dy, both f32, of one picture or of several small ones.
struct Rows {
  const float* source;
  int64_t image_step, row_step, column_step;
  const float* dy;
  int64_t dy_image_step;
  int64_t images, rows, columns;
};

class ConvolutionGradient final : public Kernel {
 public:
  ConvolutionGradient(const ConvolutionShape& shape, bool x_bf16, bool dy_bf16, bool bias,
                      int64_t slice)
      : vectors_(vector_kernels()), shape_(shape), form_(shape, false, vectors_.lanes),
        correlation_(Correlation::forward(shape)), x_bf16_(x_bf16), dy_bf16_(dy_bf16), bias_(bias),
        pointwise_(shape.pointwise() && !shape.depthwise()),
        outputs_(round_up(form_.outputs, vectors_.lanes)),
        dy_width_(form_.groups * outputs_),
        pointwise_pixels_(std::clamp<int64_t>(
            kPointwiseBytes / (4 * (shape.in_channels + shape.out_channels)), 32, 512)),
        together_(std::clamp<int64_t>(kLeastPixels / (shape.out_height * shape.out_width), 1, slice)) {
    x_direct_ = !x_bf16 && (pointwise_ || (correlation_.picture.whole &&
                                           (!shape.depthwise() ||
                                            shape.in_channels % vectors_.lanes == 0)));
    dy_direct_ = !dy_bf16 && dy_width_ == shape.out_channels;
  }

  int64_t scratch_bytes() const override {
    return (source_floats() + dy_floats() + shape_.out_channels) *
           static_cast<int64_t>(sizeof(float));
  }

  int64_t partial_bytes() const override {
    return bias_offset() + shape_.out_channels * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& slice) const override {
    std::memset(slice.partial, 0, static_cast<size_t>(partial_bytes()));
    if (pointwise_) return run_pointwise(slice);
    float* const padded = static_cast<float*>(slice.scratch);
    float* const gathered = padded + source_floats();
    if (!x_direct_) std::fill_n(padded, source_floats(), 0.0f);
    const int64_t x_elements = shape_.in_height * shape_.in_width * shape_.in_channels;
    const int64_t pixels = shape_.out_height * shape_.out_width;
    const PaddedPicture& picture = correlation_.picture;
    for (int64_t first = 0; first < slice.images; first += together_) {
      const int64_t count = std::min(together_, slice.images - first);
      const void* const x = element(slice.inputs[0], x_bf16_, first * x_elements);
      for (int64_t i = 0; i < count && !x_direct_; ++i) {
        picture.fill(vectors_, element(slice.inputs[0], x_bf16_, (first + i) * x_elements), x_bf16_,
                     shape_.in_width, padded + i * picture.elements());
      }
      run_rows({.source = x_direct_ ? static_cast<const float*>(x) : padded,
                .image_step = x_direct_ ? x_elements : picture.elements(),
                .row_step = shape_.stride_height * picture.width * picture.channels,
                .column_step = shape_.stride_width * picture.channels,
                .dy = output_gradients(slice, first * pixels, count * pixels, gathered),
                .dy_image_step = pixels * dy_width_,
                .images = count,
                .rows = shape_.out_height,
                .columns = shape_.out_width},
               static_cast<float*>(slice.partial));
    }
  }

  void combine(const Partials& partials) const override {
    const int64_t taps = shape_.taps(), inputs = form_.rows / taps;
    float* const dw = static_cast<float*>(partials.outputs[0]);
    std::vector<double> sums(static_cast<size_t>(outputs_));
    for (int64_t group = 0; group < form_.groups; ++group) {
      for (int64_t row = 0; row < form_.rows; ++row) {
        std::fill(sums.begin(), sums.end(), 0.0);
        for (int64_t s = 0; s < partials.slices; ++s) {
          const float* const from = partials.of<float>(s) + (group * form_.rows + row) * outputs_;
          for (int64_t o = 0; o < outputs_; ++o) sums[o] += static_cast<double>(from[o]);
        }
        const int64_t tap = row / inputs, input = row % inputs;
        for (int64_t o = 0; o < form_.outputs; ++o) {
          dw[((group * form_.outputs + o) * inputs + input) * taps + tap] =
              static_cast<float>(sums[o]);
        }
      }
    }
    if (float* const db = static_cast<float*>(partials.outputs[1])) combine_bias(partials, db);
  }

 private:
  static void* element(void* base, bool bf16, int64_t index) {
    return static_cast<std::byte*>(base) + index * (bf16 ? 2 : 4);
  }

  int64_t source_floats() const {
    if (x_direct_) return 0;
    if (pointwise_) return pointwise_pixels_ * shape_.in_channels;
    return round_up(together_ * correlation_.picture.elements() + vectors_.lanes, 16);
  }
  int64_t dy_floats() const {
    if (dy_direct_) return 0;
    const int64_t pixels =
        pointwise_ ? pointwise_pixels_ : together_ * shape_.out_height * shape_.out_width;
    return pixels * dy_width_;
  }
  int64_t bias_offset() const {
    const int64_t floats = form_.groups * form_.rows * outputs_;
    return round_up(floats * static_cast<int64_t>(sizeof(float)), 64);
  }

  void combine_bias(const Partials& partials, float* db) const {
    for (int64_t o = 0; o < shape_.out_channels; ++o) {
      double sum = 0;
      for (int64_t s = 0; s < partials.slices; ++s) {
        const std::byte* const at = partials.first + s * partials.stride + bias_offset();
        sum += reinterpret_cast<const double*>(at)[o];
      }
      db[o] = static_cast<float>(sum);
    }
  }

  // dy of `count` pixels as f32 with groups padded to whole vectors; its sums go to the bias.
  const float* output_gradients(const Slice& slice, int64_t first, int64_t count,
                                float* gathered) const {
    const int64_t channels = shape_.out_channels;
    const void* const dy = element(slice.inputs[1], dy_bf16_, first * channels);
    float* const row = gathered + dy_floats();  // one pixel
    if (!dy_direct_) {
      if (dy_width_ != channels) std::fill_n(gathered, count * dy_width_, 0.0f);
      for (int64_t pixel = 0; pixel < count; ++pixel) {
        const float* from = static_cast<const float*>(dy) + pixel * channels;
        if (dy_bf16_) {
          vectors_.widen(static_cast<const bfloat16*>(dy) + pixel * channels, channels, row);
          from = row;
        }
        for (int64_t group = 0; group < form_.groups; ++group) {
          std::memcpy(gathered + pixel * dy_width_ + group * outputs_, from + group * form_.outputs,
                      static_cast<size_t>(form_.outputs) * sizeof(float));
        }
      }
    }
    const float* const result = dy_direct_ ? static_cast<const float*>(dy) : gathered;
    if (bias_) add_bias(slice, result, count, row);
    return result;
  }

  // Per picture in f32, pictures in f64.
  void add_bias(const Slice& slice, const float* dy, int64_t count, float* sums) const {
    auto* const bias =
        reinterpret_cast<double*>(static_cast<std::byte*>(slice.partial) + bias_offset());
    std::fill_n(sums, shape_.out_channels, 0.0f);
    for (int64_t pixel = 0; pixel < count; ++pixel) {
      const float* const from = dy + pixel * dy_width_;
      for (int64_t group = 0; group < form_.groups; ++group) {
        float* const to = sums + group * form_.outputs;
        for (int64_t o = 0; o < form_.outputs; ++o) to[o] += from[group * outputs_ + o];
      }
    }
    for (int64_t o = 0; o < shape_.out_channels; ++o) bias[o] += static_cast<double>(sums[o]);
  }

  void run_rows(const Rows& all, float* partial) const {
    const int64_t row_bytes = (all.row_step + all.columns * dy_width_) *
                              static_cast<int64_t>(sizeof(float));
    const int64_t least = (kLeastPixels + all.columns - 1) / all.columns;
    const int64_t chunk = std::min(std::max(kChunkBytes / row_bytes, least), all.rows);
    for (int64_t row = 0; row < all.rows; row += chunk) {
      Rows part = all;
      part.source += row * all.row_step;
      part.dy += row * all.columns * dy_width_;
      part.rows = std::min(chunk, all.rows - row);
      shape_.depthwise() ? run_depthwise(part, partial) : run_groups(part, partial);
    }
  }

  void run_groups(const Rows& part, float* partial) const {
    for (int64_t group = 0; group < form_.groups; ++group) {
      for (const Run& run : correlation_.phases[0].runs) {
        vectors_.accumulate({.a = part.source + run.source + group * shape_.group_in(),
                             .a_image_step = part.image_step,
                             .a_row_step = part.row_step,
                             .a_column_step = part.column_step,
                             .b = part.dy + group * outputs_,
                             .b_image_step = part.dy_image_step,
                             .b_row_step = part.columns * dy_width_,
                             .b_column_step = dy_width_,
                             .images = part.images,
                             .rows = part.rows,
                             .columns = part.columns,
                             .m = run.length,
                             .n = outputs_,
                             .sums = partial + (group * form_.rows + run.row) * outputs_,
                             .sums_step = outputs_});
      }
    }
  }

  void run_depthwise(const Rows& part, float* partial) const {
    const Phase& phase = correlation_.phases[0];
    for (int64_t image = 0; image < part.images; ++image) {
      vectors_.accumulate_depthwise({.a = part.source + image * part.image_step,
                                     .a_row_step = part.row_step,
                                     .a_column_step = part.column_step,
                                     .offsets = phase.offsets.data(),
                                     .tap_count = static_cast<int64_t>(phase.offsets.size()),
                                     .b = part.dy + image * part.dy_image_step,
                                     .b_row_step = part.columns * dy_width_,
                                     .b_column_step = dy_width_,
                                     .rows = part.rows,
                                     .columns = part.columns,
                                     .channels = outputs_,
                                     .sums = partial});
    }
  }

  // The whole slice is one row of pixels.
  void run_pointwise(const Slice& slice) const {
    float* const wide = static_cast<float*>(slice.scratch);
    float* const gathered = wide + source_floats();
    const int64_t channels = shape_.in_channels;
    const int64_t pixels = slice.images * shape_.out_height * shape_.out_width;
    for (int64_t first = 0; first < pixels; first += pointwise_pixels_) {
      const int64_t count = std::min(pointwise_pixels_, pixels - first);
      const void* const x = element(slice.inputs[0], x_bf16_, first * channels);
      const float* source = static_cast<const float*>(x);
      if (x_bf16_) {
        vectors_.widen(static_cast<const bfloat16*>(x), count * channels, wide);
        source = wide;
      }
      const float* const dy = output_gradients(slice, first, count, gathered);
      run_groups({source, 0, 0, channels, dy, 0, 1, 1, count},
                 static_cast<float*>(slice.partial));
    }
  }

  const VectorKernels& vectors_;
  const ConvolutionShape shape_;
  const PackedForm form_;
  const Correlation correlation_;
  const bool x_bf16_, dy_bf16_, bias_, pointwise_;
  const int64_t outputs_, dy_width_;  // a group's outputs and a pixel of dy, in whole vectors
  const int64_t pointwise_pixels_;    // in one pass over the weights
  const int64_t together_;            // pictures in one pass over the weights
  bool x_direct_, dy_direct_;
};

}  // namespace

KernelPointer convolution_backward_weights_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  return std::make_unique<ConvolutionGradient>(shape, is_bf16(*call.input(0)),
                                               is_bf16(*call.input(1)),
                                               call.output(1) != nullptr, call.entry.slice);
}

}  // namespace secateur
