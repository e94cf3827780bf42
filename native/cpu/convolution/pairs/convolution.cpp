#include "cpu/convolution/pairs/convolution.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cpu/convolution/packed.h"
#include "cpu/convolution/pairs/form.h"
#include "cpu/convolution/pairs/gradient.h"
#include "cpu/convolution/pairs/pack.h"
#include "cpu/convolution/pairs/staging.h"
#include "cpu/parts.h"

namespace secateur {

namespace pairs {

namespace {

constexpr size_t kInts = ConvolutionShape::kInts;

// Pixels are converted in stretches that stay in the second-level cache; threads share them in whole
// blocks of one scale, and tiles.
constexpr int64_t kStretchBytes = 96 << 10, kPixelUnit = 56, kLeastStretch = 2 * kPixelUnit,
                  kMostStretch = 16 * kPixelUnit;
static_assert(kPixelUnit % kPixelsInBlock == 0);

int64_t rounded_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

struct Types {
  bool x_bf16, y_bf16, relu;
};

class Convolution final : public Kernel {
 public:
  Convolution(Form form, const Types& types)
      : form_(std::move(form)), kernels_(kernels_for(form_.product)), types_(types) {
    const ConvolutionShape& s = form_.shape;
    const Correlation& c = form_.correlation;
    by_pixels_ = form_.backward ? s.pointwise() : s.taps() == 1 && s.pad_top == 0 && s.pad_left == 0;
    const int64_t source_height = form_.backward ? s.out_height : s.in_height;
    grid_ = {c.y_width,     c.row_stride, c.column_stride, c.source_width, source_height * c.source_width,
             c.y_height * c.y_width, c.source_channels};
    // A value of the last pixel's last pair may lie behind it.
    in_place_ = by_pixels_ && grid_.dense() && types.x_bf16 && form_.product == Product::bf16 &&
                grid_.channels % 2 == 0;
    stretch_ = std::clamp(kStretchBytes / 2 / grid_.channels / kPixelUnit * kPixelUnit, kLeastStretch,
                          kMostStretch);
    choose_parts();
  }

  int64_t parts() const override { return parts_; }

  int64_t scratch_bytes() const override {
    return staged_bytes() + scales_bytes() + (types_.x_bf16 ? 0 : rounded_up(narrowed() * 2, 64));
  }

  void run(const Slice& slice) const override {
    if (by_pixels_) return run_pixels(slice);
    const PaddedPicture& picture = form_.correlation.picture;
    uint16_t* const padded = static_cast<uint16_t*>(slice.scratch);
    std::memset(padded, 0, static_cast<size_t>(staged_bytes()));
    for (int64_t image = 0; image < slice.images; ++image) {
      const float scale = stage_picture(slice, image, padded);
      for (const PairPhase& phase : form_.phases) {
        const auto [rows, channels] = shares_of(slice, phase.rows, 1);
        const Correlation& c = form_.correlation;
        const int64_t y_row_step = c.y_row_stride * c.y_width * c.y_channels;
        const int64_t row_step = c.row_stride * picture.width * picture.channels;
        const int64_t first = (image * grid_.pixels + phase.y_row * c.y_width + phase.y_column) *
                                  c.y_channels + rows.first * y_row_step;
        Sweep task = sweep(slice, first, channels);
        task.source = padded + rows.first * row_step;
        task.row_step = row_step;
        task.column_step = c.column_stride * picture.channels;
        task.runs = phase.runs.data();
        task.run_count = static_cast<int64_t>(phase.runs.size());
        task.scales = &scale;
        task.rows = rows.count();
        task.columns = phase.columns;
        task.y_row_step = y_row_step;
        task.y_column_step = c.y_column_stride * c.y_channels;
        kernels_.convolve(task);
      }
    }
  }

 private:
  struct Shares {
    Range rows, channels;
  };

  int64_t staged_bytes() const {
    const int64_t values = in_place_    ? 0
                           : by_pixels_ ? stretch_ * grid_.channels
                                        : form_.correlation.picture.elements();
    return rounded_up(values * 2 + 2, Kernel::kAlignment);
  }
  int64_t scales_bytes() const { return by_pixels_ ? stretch_ * 4 : 0; }
  // Values of the source that are rounded to bf16 at a time.
  int64_t narrowed() const { return grid_.source_pixels * grid_.channels; }

  // Threads share output channels where weights are more to read than the picture, else its rows.
  void choose_parts() {
    const int64_t outputs = form_.outputs(), unit = 2 * kLanes;
    const int64_t products = grid_.pixels * outputs * form_.pairs() * 2;
    const int64_t stretches = (outputs + unit - 1) / unit;
    by_channels_ = stretches > 1 && form_.pairs() * 2 * outputs > narrowed();
    const int64_t units = by_channels_ ? stretches
                          : by_pixels_ ? grid_.pixels / kPixelUnit
                                       : form_.phases[0].rows;
    parts_ = parts_for(units, products);
  }

  Shares shares_of(const Slice& slice, int64_t rows, int64_t unit) const {
    if (by_channels_) return {{0, rows}, part_of(form_.outputs(), 2 * kLanes, slice)};
    return {part_of(rows, unit, slice), {0, form_.outputs()}};
  }

  // The source of one picture in bf16.
  const bfloat16* source_of(const Slice& slice, int64_t image) const {
    const int64_t values = narrowed();
    void* const x = element_at(slice.inputs[0], types_.x_bf16, image * values);
    if (types_.x_bf16) return static_cast<const bfloat16*>(x);
    bfloat16* const narrow = reinterpret_cast<bfloat16*>(static_cast<std::byte*>(slice.scratch) +
                                                         staged_bytes() + scales_bytes());
    vector_kernels().narrow(static_cast<const float*>(x), values, narrow);
    return narrow;
  }

  // Between the zeros, which are there already; returns the scale.
  float stage_picture(const Slice& slice, int64_t image, uint16_t* padded) const {
    const PaddedPicture& picture = form_.correlation.picture;
    const int64_t row = picture.copied_width * picture.channels;
    const int64_t source_row = form_.correlation.source_width * picture.channels;
    const bfloat16* const source = source_of(slice, image);
    const bool scaled = form_.product == Product::int16;
    uint16_t largest = 0;
    for (int64_t i = 0; i < picture.copied_height && scaled; ++i) {
      largest = std::max(largest, kernels_.largest(source + i * source_row, row));
    }
    const Scale scale = Scale::of(largest);
    for (int64_t i = 0; i < picture.copied_height; ++i) {
      uint16_t* const to = padded + ((i + picture.top) * picture.width + picture.left) * picture.channels;
      const bfloat16* const from = source + i * source_row;
      if (scaled) {
        kernels_.quantise(from, row, scale.factor, to);
      } else {
        std::memcpy(to, from, static_cast<size_t>(row) * sizeof(uint16_t));
      }
    }
    return scale.back;
  }

  // What all sweeps of an instruction have in common; `first` is an element of y.
  Sweep sweep(const Slice& slice, int64_t first, const Range& channels) const {
    const std::byte* const packed = static_cast<const std::byte*>(slice.inputs[1]);
    Sweep task{};
    task.weights = reinterpret_cast<const uint16_t*>(packed) + channels.first / kLanes * form_.panel();
    task.panel = form_.panel();
    task.weight_scales =
        reinterpret_cast<const float*>(packed + form_.scales_offset()) + channels.first;
    task.channels = channels.count();
    task.y_bf16 = types_.y_bf16;
    task.y = element_at(slice.outputs[0], types_.y_bf16, first + channels.first);
    task.relu = types_.relu;
    if (void* const bias = argument(slice, 2)) task.bias = static_cast<float*>(bias) + channels.first;
    if (void* const residual = argument(slice, 3)) {
      task.residual = element_at(residual, types_.y_bf16, first + channels.first);
    }
    return task;
  }

  static void* argument(const Slice& slice, size_t input) {
    return slice.inputs.size() > input ? slice.inputs[input] : nullptr;
  }

  // The slice's pixels are one row; pictures that have to be rounded first are one each.
  void run_pixels(const Slice& slice) const {
    const int64_t pictures = types_.x_bf16 ? slice.images : 1;
    for (int64_t image = 0; image < slice.images; image += pictures) {
      const bfloat16* const source = source_of(slice, image);
      const auto [mine, channels] = shares_of(slice, pictures * grid_.pixels, kPixelUnit);
      for (int64_t first = mine.first; first < mine.last; first += stretch_) {
        run_stretch(slice, source, image * grid_.pixels, {first, std::min(first + stretch_, mine.last)},
                    channels);
      }
    }
  }

  void run_stretch(const Slice& slice, const bfloat16* source, int64_t before, const Range& pixels,
                   const Range& channels) const {
    const Run run{0, 0, form_.pairs()};
    uint16_t* const staged = static_cast<uint16_t*>(slice.scratch);
    float* const scales =
        reinterpret_cast<float*>(static_cast<std::byte*>(slice.scratch) + staged_bytes());
    const int64_t y_channels = form_.correlation.y_channels;
    Sweep task = sweep(slice, (before + pixels.first) * y_channels, channels);
    if (in_place_) {
      task.source = reinterpret_cast<const uint16_t*>(source) + pixels.first * grid_.channels;
    } else {
      stage_pixels(kernels_, form_.product, grid_, source, pixels.first, pixels.count(), staged, scales);
      staged[pixels.count() * grid_.channels] = 0;
      task.source = staged;
    }
    task.column_step = grid_.channels;
    task.runs = &run;
    task.run_count = 1;
    task.scales = scales;
    task.scale_step = 1;
    task.rows = 1;
    task.columns = pixels.count();
    task.y_column_step = y_channels;
    kernels_.convolve(task);
  }

  const Form form_;
  const Kernels& kernels_;
  const Types types_;
  PixelGrid grid_{};
  bool by_pixels_, in_place_;
  bool by_channels_ = false;  // what parts divide
  int64_t stretch_;           // of pixels
  int64_t parts_ = 1;
};

std::unique_ptr<Kernel> pack(const Call& call) {
  auto form = Form::of(call.instruction.ints);
  if (!form) return nullptr;
  call.require_output(0, {form->bytes()});
  return pack_kernel(std::move(*form));
}

std::unique_ptr<Kernel> convolution(const Call& call, bool backward) {
  const Instruction* const pack = packed_by(call);
  if (pack == nullptr) return nullptr;
  auto form = Form::of(pack->ints);
  if (!form) return nullptr;
  const auto& ints = call.instruction.ints;
  if (!std::equal(ints.begin(), ints.begin() + kInts, pack->ints.begin()) ||
      form->backward != backward) {
    call.refuse("expected weights packed for the same shape and direction.");
  }
  call.require_input(1, {form->bytes()});
  const Value& y = *call.output(0);
  const Value* const residual = backward ? nullptr : call.input(3);
  if (residual != nullptr && residual->dtype != y.dtype) {
    call.refuse("expected the residual '" + residual->name + "' to have the type of y, found another.");
  }
  const bool relu = !backward && call.integer(kInts) != 0;
  return std::make_unique<Convolution>(std::move(*form),
                                       Types{is_bf16(*call.input(0)), is_bf16(y), relu});
}

}  // namespace

}  // namespace pairs

std::unique_ptr<Kernel> pair_kernel(const Call& call) {
  switch (call.instruction.op) {
    case Op::pack_convolution:
      return pairs::pack(call);
    case Op::convolution:
      return pairs::convolution(call, false);
    case Op::convolution_backward_data:
      return pairs::convolution(call, true);
    case Op::convolution_backward_weights:
      return pairs::weights_gradient(call);
    default:
      return nullptr;
  }
}

int64_t pair_packed_bytes(std::span<const int64_t> ints) {
  const auto form = pairs::Form::of(ints);
  return form ? form->bytes() : -1;
}

}  // namespace secateur
