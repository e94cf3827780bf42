// Convolution and its transpose: register tiles over a padded f32 copy of one picture at a time.

#include <algorithm>

#include "cpu/convolution/direct/depthwise.h"
#include "cpu/convolution/shape.h"
#include "cpu/kernels.h"
#include "cpu/parts.h"

namespace secateur {

namespace {

// A pointwise convolution goes through a picture in stretches of pixels: what one reads and writes
// stays in the first-level cache, but there are enough to be worth reading the weights for.
constexpr int64_t kPointwiseBytes = 32 << 10;
constexpr int64_t kLeastPointwise = 48, kMostPointwise = 480;
// Threads share its pixels in multiples of this: two tiles of the widest vectors.
constexpr int64_t kPixelUnit = 24;
// Narrower pictures make tiles too small to hide the latency of a product, or to be worth reading
// the weights for: their tiles run across this many pictures instead of along a row.
constexpr int64_t kNarrow = 6;
constexpr int64_t kPicturesAcross = 12;

struct Epilogue {
  bool relu = false;
  bool y_bf16 = false;
};

class PortableConvolution final : public Kernel {
 public:
  PortableConvolution(const ConvolutionShape& shape, bool backward, bool x_bf16, Epilogue epilogue,
                      int64_t slice)
      : vectors_(vector_kernels()), form_(shape, backward, vectors_.lanes),
        correlation_(backward ? Correlation::backward(shape) : Correlation::forward(shape)),
        x_bf16_(x_bf16), epilogue_(epilogue), pointwise_(shape.pointwise()),
        source_elements_(backward ? shape.out_height * shape.out_width * shape.out_channels
                                  : shape.in_height * shape.in_width * shape.in_channels),
        group_in_(backward ? shape.group_out() : shape.group_in()),
        stretch_(std::clamp(kPointwiseBytes / 4 / (shape.in_channels + shape.out_channels) /
                                kPixelUnit * kPixelUnit,
                            kLeastPointwise, kMostPointwise)) {
    const PaddedPicture& picture = correlation_.picture;
    direct_ = !x_bf16 && picture.whole;
    const int64_t across = std::min(slice, kPicturesAcross);
    const int64_t columns = correlation_.phases[0].columns;
    if (columns < kNarrow && columns < across) together_ = across;
    choose_parts();
  }

  int64_t parts() const override { return parts_; }

  int64_t scratch_bytes() const override {
    const int64_t floats = pointwise_ ? (x_bf16_ ? stretch_ * correlation_.source_channels : 0)
                           : direct_  ? 0
                                      : together_ * correlation_.picture.elements() + vectors_.lanes;
    return floats * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const override {
    if (pointwise_) return run_pointwise(slice);
    const PaddedPicture& picture = correlation_.picture;
    float* const padded = static_cast<float*>(slice.scratch);
    const Range needed = padded_rows(slice);
    if (!direct_) {
      const int64_t step = picture.width * picture.channels;
      const int64_t floats = (together_ - 1) * picture.elements() + needed.count() * step;
      std::fill_n(padded + needed.first * step, floats + vectors_.lanes, 0.0f);
    }
    for (int64_t first = 0; first < slice.images; first += together_) {
      const int64_t count = std::min(together_, slice.images - first);
      const void* const x = element(slice.inputs[0], x_bf16_, first * source_elements_);
      for (int64_t i = 0; i < count && !direct_; ++i) {
        picture.fill_rows(vectors_, element(slice.inputs[0], x_bf16_, (first + i) * source_elements_),
                          x_bf16_, correlation_.source_width, padded + i * picture.elements(),
                          needed.first, needed.last);
      }
      const float* const source = direct_ ? static_cast<const float*>(x) : padded;
      for (const Phase& phase : correlation_.phases) {
        const int64_t y = first * y_elements() +
                          (phase.y_row * correlation_.y_width + phase.y_column) *
                              correlation_.y_channels;
        run_phase(slice, phase, source, y, count);
      }
    }
  }

 private:
  static void* element(void* base, bool bf16, int64_t index) {
    return static_cast<std::byte*>(base) + index * (bf16 ? 2 : 4);
  }

  const float* packed(const Slice& slice) const { return static_cast<const float*>(slice.inputs[1]); }
  void* argument(const Slice& slice, size_t input) const {
    return slice.inputs.size() > input ? slice.inputs[input] : nullptr;
  }

  // The rows (or pixels, where pointwise) and each group's channels that a part of a slice computes.
  struct Shares {
    Range rows, channels;
  };

  // Threads share output channels where weights are more to read than the picture, else its rows.
  void choose_parts() {
    if (together_ > 1) return;
    const int64_t pixels = correlation_.y_height * correlation_.y_width;
    const int64_t products = pixels * form_.groups * form_.outputs * form_.rows;
    const int64_t stretches = (form_.outputs + channel_unit() - 1) / channel_unit();
    by_channels_ = stretches > 1 && form_.elements() > source_elements_;
    const int64_t units = by_channels_ ? stretches
                          : pointwise_ ? pixels / kPixelUnit
                                       : correlation_.phases[0].rows;
    parts_ = parts_for(units, products);
  }

  int64_t channel_unit() const { return 2 * vectors_.lanes; }

  Shares shares_of(const Slice& slice, int64_t rows, int64_t unit) const {
    if (by_channels_) return {{0, rows}, part_of(form_.outputs, channel_unit(), slice)};
    return {part_of(rows, unit, slice), {0, form_.outputs}};
  }

  // What a part reads of the padded picture. Phases divide differently, so they read all of it.
  Range padded_rows(const Slice& slice) const {
    const PaddedPicture& picture = correlation_.picture;
    const Range rows = shares_of(slice, correlation_.phases[0].rows, 1).rows;
    if (slice.parts == 1 || correlation_.phases.size() > 1) return {0, picture.height};
    const int64_t step = picture.width * picture.channels;
    int64_t reach = 0;
    for (const Run& run : correlation_.phases[0].runs) {
      reach = std::max(reach, (run.source + run.length - 1) / step);
    }
    const int64_t last = (rows.last - 1) * correlation_.row_stride + reach + 1;
    return {rows.first * correlation_.row_stride, std::min(last, picture.height)};
  }

  // What all sweeps of an instruction have in common; `y` is an element's index.
  ConvolutionSweep sweep(const Slice& slice, int64_t group, int64_t y, const Range& channels) const {
    ConvolutionSweep result{};
    const int64_t channel = group * form_.outputs + channels.first;
    result.weights =
        packed(slice) + group * form_.group() + channels.first / vectors_.lanes * form_.panel();
    result.panel = form_.panel();
    result.channels = channels.count();
    result.y_bf16 = epilogue_.y_bf16;
    result.y = element(slice.outputs[0], epilogue_.y_bf16, y + channel);
    result.relu = epilogue_.relu;
    if (const auto* bias = static_cast<const float*>(argument(slice, 2))) {
      result.bias = bias + channel;
    }
    if (void* const residual = argument(slice, 3)) {
      result.residual = element(residual, epilogue_.y_bf16, y + channel);
    }
    return result;
  }

  int64_t y_elements() const {
    return correlation_.y_height * correlation_.y_width * correlation_.y_channels;
  }

  void run_phase(const Slice& slice, const Phase& phase, const float* source, int64_t y,
                 int64_t images) const {
    const PaddedPicture& picture = correlation_.picture;
    const auto [rows, channels] = shares_of(slice, phase.rows, 1);
    const int64_t row_step = correlation_.row_stride * picture.width * picture.channels;
    const int64_t y_row_step =
        correlation_.y_row_stride * correlation_.y_width * correlation_.y_channels;
    for (int64_t group = 0; group < form_.groups; ++group) {
      ConvolutionSweep task = sweep(slice, group, y + rows.first * y_row_step, channels);
      task.source = source + group * group_in_ + rows.first * row_step;
      task.row_step = row_step;
      task.column_step = correlation_.column_stride * picture.channels;
      task.runs = phase.runs.data();
      task.run_count = static_cast<int64_t>(phase.runs.size());
      task.rows = rows.count();
      task.columns = phase.columns;
      task.y_row_step = y_row_step;
      task.y_column_step = correlation_.y_column_stride * correlation_.y_channels;
      together_ > 1 ? sweep_across(task, images) : vectors_.convolve(task);
    }
  }

  // Row by row of pixels; the sweep's rows are a row's pixels and its columns are the pictures.
  void sweep_across(const ConvolutionSweep& one, int64_t images) const {
    const int64_t bytes = one.y_bf16 ? 2 : 4;
    for (int64_t row = 0; row < one.rows; ++row) {
      ConvolutionSweep task = one;
      task.source += row * one.row_step;
      task.y = static_cast<std::byte*>(one.y) + row * one.y_row_step * bytes;
      if (one.residual != nullptr) {
        task.residual = static_cast<const std::byte*>(one.residual) + row * one.y_row_step * bytes;
      }
      task.rows = one.columns;
      task.row_step = one.column_step;
      task.y_row_step = one.y_column_step;
      task.columns = images;
      task.column_step = direct_ ? source_elements_ : correlation_.picture.elements();
      task.y_column_step = y_elements();
      vectors_.convolve(task);
    }
  }

  // The whole slice is one row of pixels.
  void run_pointwise(const Slice& slice) const {
    const int64_t channels = correlation_.source_channels;
    const int64_t pixels = slice.images * correlation_.y_height * correlation_.y_width;
    const Run run{0, 0, group_in_};
    const auto [mine, outputs] = shares_of(slice, pixels, kPixelUnit);
    for (int64_t first = mine.first; first < mine.last; first += stretch_) {
      const int64_t count = std::min(stretch_, mine.last - first);
      const void* const x = element(slice.inputs[0], x_bf16_, first * channels);
      const float* source = static_cast<const float*>(x);
      if (x_bf16_) {
        float* const wide = static_cast<float*>(slice.scratch);
        vectors_.widen(static_cast<const bfloat16*>(x), count * channels, wide);
        source = wide;
      }
      for (int64_t group = 0; group < form_.groups; ++group) {
        ConvolutionSweep task = sweep(slice, group, first * correlation_.y_channels, outputs);
        task.source = source + group * group_in_;
        task.column_step = channels;
        task.runs = &run;
        task.run_count = 1;
        task.rows = 1;
        task.columns = count;
        task.y_column_step = correlation_.y_channels;
        vectors_.convolve(task);
      }
    }
  }

  const VectorKernels& vectors_;
  const PackedForm form_;
  const Correlation correlation_;
  const bool x_bf16_;
  const Epilogue epilogue_;
  const bool pointwise_;
  const int64_t source_elements_, group_in_;
  const int64_t stretch_;  // of pixels, where pointwise
  bool direct_;
  int64_t together_ = 1;  // pictures in one sweep
  int64_t parts_ = 1;
  bool by_channels_ = false;  // what parts divide
};

void require_packed(const Call& call, const ConvolutionShape& shape, bool backward) {
  const PackedForm form(shape, backward, vector_kernels().lanes);
  call.require_input(1, {form.elements() * static_cast<int64_t>(sizeof(float))});
}

}  // namespace

KernelPointer convolution_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  require_packed(call, shape, false);
  const Value& y = *call.output(0);
  if (const Value* residual = call.input(3); residual != nullptr && residual->dtype != y.dtype) {
    call.refuse("expected the residual '" + residual->name + "' to have the type of y, found another.");
  }
  if (shape.depthwise()) return depthwise_kernel(call, shape, false);
  const Epilogue epilogue{call.integer(ConvolutionShape::kInts) == 1, is_bf16(y)};
  return std::make_unique<PortableConvolution>(shape, false, is_bf16(*call.input(0)), epilogue,
                                               call.entry.slice);
}

KernelPointer convolution_backward_data_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  require_packed(call, shape, true);
  if (shape.depthwise()) return depthwise_kernel(call, shape, true);
  return std::make_unique<PortableConvolution>(shape, true, is_bf16(*call.input(0)),
                                               Epilogue{false, is_bf16(*call.output(0))},
                                               call.entry.slice);
}

}  // namespace secateur
