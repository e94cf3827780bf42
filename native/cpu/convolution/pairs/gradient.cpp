// Gradients of weights: sums over pairs of neighbouring output pixels. Rows of dy are paired once, rows
// of x once for each output row's columns of taps; a slice leaves [kernel row][kernel column, input]
// [output] in f32.

#include "cpu/convolution/pairs/gradient.h"

#include <algorithm>
#include <cstring>

#include "cpu/channels/tables.h"
#include "cpu/convolution/pairs/form.h"
#include "cpu/convolution/pairs/staging.h"
#include "cpu/parts.h"
#include "cpu/simd/vector_kernels.h"

namespace secateur::pairs {

namespace {

// Paired rows of x and dy for one pass over the sums: as many as stay in the second-level cache, for
// sums are read and written once a pass, but what a tile reads of x has to stay in the first-level one.
constexpr int64_t kPassBytes = 1 << 20, kMostPairs = 384;

constexpr int64_t kPointer = sizeof(void*);

int64_t rounded_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

class Gradient final : public Kernel {
 public:
  Gradient(const ConvolutionShape& shape, Product product, bool bias)
      : shape_(shape), product_(product), kernels_(kernels_for(product)), bias_(bias),
        bias_sums_(vector_kernels(), shape.out_channels, 0, 1) {
    const int64_t pixels =
        std::clamp<int64_t>(kPassBytes / 2 / (row_values() + columns()), 32, 2 * kMostPairs);
    // Where the kernel is a point, pixels of a slice are one row, cut where it suits.
    row_pixels_ = shape.pointwise() ? pixels / 2 * 2 : shape.out_width;
    pass_rows_ = shape.pointwise() ? 1 : std::max<int64_t>(1, pixels / (2 * pairs()));
  }

  int64_t scratch_bytes() const override {
    return rounded_up(pass_rows_ * dy_row() * 2, kAlignment) +
           rounded_up(x_rows() * x_row() * 2, kAlignment) +
           pass_rows_ * (shape_.kernel_height + 1) * kPointer;
  }

  int64_t partial_bytes() const override {
    return bias_offset() + (bias_ ? bias_sums_.scratch_bytes() : 0);
  }

  void run(const Slice& slice) const override {
    std::memset(slice.partial, 0, static_cast<size_t>(partial_bytes()));
    std::memset(slice.scratch, 0, static_cast<size_t>(pass_rows_ * dy_row() * 2));
    if (bias_) add_bias(slice);
    if (shape_.pointwise()) {
      const int64_t pixels = slice.images * shape_.out_height * shape_.out_width;
      for (int64_t first = 0; first < pixels; first += row_pixels_) {
        run_pixels(slice, first, std::min(row_pixels_, pixels - first));
      }
      return;
    }
    const int64_t rows = slice.images * shape_.out_height;
    for (int64_t row = 0; row < rows; row += pass_rows_) {
      run_rows(slice, row, std::min(pass_rows_, rows - row));
    }
  }

  void combine(const Partials& partials) const override;

 private:
  // Values of x that meet a row of the kernel at one output, and outputs in whole vectors.
  int64_t row_values() const { return shape_.kernel_width * shape_.in_channels; }
  int64_t columns() const { return rounded_up(shape_.out_channels, kLanes); }
  int64_t pairs() const { return (row_pixels_ + 1) / 2; }
  int64_t x_row() const { return pairs() * row_values() * 2; }
  int64_t dy_row() const { return pairs() * columns() * 2; }
  int64_t bias_offset() const {
    return rounded_up(shape_.kernel_height * row_values() * columns() * 4, kAlignment);
  }
  // Rows of x that a pass can meet: those of one picture after another.
  int64_t x_rows() const {
    if (shape_.pointwise()) return 1;
    const int64_t pictures = pass_rows_ / shape_.out_height + 2;
    return std::min(pass_rows_ * shape_.kernel_height, pictures * shape_.in_height);
  }

  struct Room {
    uint16_t *dy, *x;
    const uint16_t** dy_rows;  // [pass_rows_]
    const uint16_t** x_rows;   // [kernel row][pass_rows_]
  };

  Room room(const Slice& slice) const {
    std::byte* at = static_cast<std::byte*>(slice.scratch);
    const auto take = [&](int64_t bytes) {
      std::byte* const taken = at;
      at += bytes;
      return taken;
    };
    Room r{};
    r.dy = reinterpret_cast<uint16_t*>(take(rounded_up(pass_rows_ * dy_row() * 2, kAlignment)));
    r.x = reinterpret_cast<uint16_t*>(take(rounded_up(x_rows() * x_row() * 2, kAlignment)));
    r.dy_rows = reinterpret_cast<const uint16_t**>(take(pass_rows_ * kPointer));
    r.x_rows = reinterpret_cast<const uint16_t**>(take(pass_rows_ * shape_.kernel_height * kPointer));
    return r;
  }

  static const bfloat16* argument(const Slice& slice, size_t input) {
    return static_cast<const bfloat16*>(slice.inputs[input]);
  }

  Scale scale_of(const bfloat16* values, int64_t count, int64_t integer) const {
    if (product_ != Product::int16) return {1, 1};
    return Scale::of(kernels_.largest(values, count), integer);
  }

  void add_bias(const Slice& slice) const {
    const int64_t pixels = slice.images * shape_.out_height * shape_.out_width;
    ChannelSweep sweep = bias_sums_.sweep(static_cast<std::byte*>(slice.partial) + bias_offset(), true,
                                          pixels * shape_.out_channels);
    sweep.x = slice.inputs[1];
    vector_kernels().column_sums(sweep);
  }

  // Pairs of `count` pixels that follow one another, to [pair][stride][2].
  void pair_pixels(const bfloat16* from, int64_t channels, int64_t count, float factor, uint16_t* to,
                   int64_t stride) const {
    for (int64_t i = 0; i < count; i += 2, to += 2 * stride) {
      const bfloat16* const first = from + i * channels;
      kernels_.interleave(first, i + 1 < count ? first + channels : nullptr, channels, factor, to);
    }
  }

  PixelSums sums_of(const Slice& slice, int64_t kernel_row) const {
    PixelSums task{};
    task.a_step = 2 * row_values();
    task.b_step = 2 * columns();
    task.m = row_values();
    task.n = columns();
    task.sums = static_cast<float*>(slice.partial) + kernel_row * row_values() * columns();
    task.sums_step = columns();
    return task;
  }

  void run_pixels(const Slice& slice, int64_t first, int64_t count) const {
    const Room r = room(slice);
    const int64_t in = shape_.in_channels, out = shape_.out_channels;
    const bfloat16* const x = argument(slice, 0) + first * in;
    const bfloat16* const dy = argument(slice, 1) + first * out;
    const Scale x_scale = scale_of(x, count * in, kLargestInput);
    const Scale dy_scale = scale_of(dy, count * out, kLargestGradient);
    pair_pixels(x, in, count, x_scale.factor, r.x, in);
    pair_pixels(dy, out, count, dy_scale.factor, r.dy, columns());
    const uint16_t* const rows[] = {r.x, r.dy};
    PixelSums task = sums_of(slice, 0);
    task.a = &rows[0];
    task.b = &rows[1];
    task.rows = 1;
    task.pairs = (count + 1) / 2;
    task.scale = x_scale.back * dy_scale.back;
    kernels_.correlate(task);
  }

  // The source row that a row of the kernel meets at an output row, both of one picture.
  int64_t source_row(int64_t row, int64_t kernel_row) const {
    return row * shape_.stride_height + kernel_row * shape_.dilation_height - shape_.pad_top;
  }

  // Output rows [first, first + count), counted over all pictures.
  void run_rows(const Slice& slice, int64_t first, int64_t count) const {
    const Room r = room(slice);
    const int64_t out = shape_.out_channels, height = shape_.out_height;
    const int64_t dy_values = shape_.out_width * out;
    const bfloat16* const dy = argument(slice, 1) + first * dy_values;
    const Scale dy_scale = scale_of(dy, count * dy_values, kLargestGradient);
    for (int64_t i = 0; i < count; ++i) {
      uint16_t* const to = r.dy + i * dy_row();
      pair_pixels(dy + i * dy_values, out, shape_.out_width, dy_scale.factor, to, columns());
      r.dy_rows[i] = to;
    }
    const Scale x_scale = scale_of_rows(slice, first, count);
    uint16_t* free = r.x;
    for (int64_t done = 0; done < count;) {
      const int64_t picture = (first + done) / height, row = (first + done) % height;
      const int64_t rows = std::min(count - done, height - row);
      free = pair_picture(slice, picture, {row, row + rows}, x_scale.factor, r, done, free);
      done += rows;
    }
    for (int64_t kernel_row = 0; kernel_row < shape_.kernel_height; ++kernel_row) {
      PixelSums task = sums_of(slice, kernel_row);
      task.a = r.x_rows + kernel_row * pass_rows_;
      task.b = r.dy_rows;
      task.rows = count;
      task.pairs = pairs();
      task.scale = x_scale.back * dy_scale.back;
      kernels_.correlate(task);
    }
  }

  // One for all rows of x that a pass meets, and a few between them.
  Scale scale_of_rows(const Slice& slice, int64_t first, int64_t count) const {
    if (product_ != Product::int16) return {1, 1};
    const int64_t height = shape_.out_height, row = shape_.in_width * shape_.in_channels;
    uint16_t largest = 0;
    for (int64_t done = 0; done < count;) {
      const int64_t picture = (first + done) / height, start = (first + done) % height;
      const int64_t rows = std::min(count - done, height - start);
      const int64_t top = std::max<int64_t>(0, source_row(start, 0));
      const int64_t bottom =
          std::min(shape_.in_height, source_row(start + rows - 1, shape_.kernel_height - 1) + 1);
      if (bottom > top) {
        const bfloat16* const x = argument(slice, 0) + (picture * shape_.in_height + top) * row;
        largest = std::max(largest, kernels_.largest(x, (bottom - top) * row));
      }
      done += rows;
    }
    return Scale::of(largest, kLargestInput);
  }

  // Pairs what output rows [rows.first, rows.last) of a picture meet, the first of which is row `at` of
  // the pass; returns where there is room for more.
  uint16_t* pair_picture(const Slice& slice, int64_t picture, const Range& rows, float factor,
                         const Room& r, int64_t at, uint16_t* free) const {
    const bfloat16* const x =
        argument(slice, 0) + picture * shape_.in_height * shape_.in_width * shape_.in_channels;
    for (int64_t i = 0; i < rows.count(); ++i) {
      for (int64_t k = 0; k < shape_.kernel_height; ++k) {
        const int64_t source = source_row(rows.first + i, k);
        const uint16_t*& entry = r.x_rows[k * pass_rows_ + at + i];
        entry = nullptr;
        if (source < 0 || source >= shape_.in_height) continue;
        entry = paired_before(r, {at, at + i}, k, rows.first, source);
        if (entry != nullptr) continue;
        pair_row(x + source * shape_.in_width * shape_.in_channels, factor, free);
        entry = free;
        free += x_row();
      }
    }
    return free;
  }

  // Where a row above has met the same source row already; nullptr where none has.
  const uint16_t* paired_before(const Room& r, const Range& above, int64_t kernel_row, int64_t first,
                                int64_t source) const {
    for (int64_t k = kernel_row + 1; k < shape_.kernel_height; ++k) {
      const int64_t distance = source - source_row(0, k);
      if (distance < 0 || distance % shape_.stride_height != 0) continue;
      const int64_t row = distance / shape_.stride_height - first;
      if (row >= 0 && row < above.count()) return r.x_rows[k * pass_rows_ + above.first + row];
    }
    return nullptr;
  }

  // A row of x for each pair of outputs: [pair][kernel column, input][2].
  void pair_row(const bfloat16* x, float factor, uint16_t* to) const {
    const int64_t channels = shape_.in_channels, last = shape_.kernel_width - 1;
    const auto at = [&](int64_t position) {
      return position < 0 || position >= shape_.in_width ? nullptr : x + position * channels;
    };
    for (int64_t pair = 0; pair < pairs(); ++pair) {
      const bool paired = 2 * pair + 1 < shape_.out_width;
      const int64_t column = 2 * pair * shape_.stride_width - shape_.pad_left;
      const int64_t next = column + shape_.stride_width;
      if (paired && shape_.dilation_width == 1 && column >= 0 && next + last < shape_.in_width) {
        // What a row of the kernel meets lies together.
        kernels_.interleave(x + column * channels, x + next * channels, row_values(), factor, to);
        to += 2 * row_values();
        continue;
      }
      for (int64_t k = 0; k <= last; ++k, to += 2 * channels) {
        const int64_t tap = k * shape_.dilation_width;
        kernels_.interleave(at(column + tap), paired ? at(next + tap) : nullptr, channels, factor, to);
      }
    }
  }

  const ConvolutionShape shape_;
  const Product product_;
  const Kernels& kernels_;
  const bool bias_;
  const ChannelTables bias_sums_;
  int64_t row_pixels_ = 0, pass_rows_ = 0;
};

// Slices add up in their order. Blocks of inputs and outputs, for what is read and what is written lie
// in different orders.
void Gradient::combine(const Partials& partials) const {
  const int64_t in = shape_.in_channels, out = shape_.out_channels, taps = shape_.taps();
  float* const dw = static_cast<float*>(partials.outputs[0]);
  for (int64_t first_out = 0; first_out < out; first_out += kLanes) {
    const int64_t outs = std::min(kLanes, out - first_out);
    for (int64_t i = 0; i < in; ++i) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t at = (tap * in + i) * columns() + first_out;
        float sums[kLanes];
        std::copy_n(partials.of<float>(0) + at, kLanes, sums);
        for (int64_t s = 1; s < partials.slices; ++s) {
          const float* const from = partials.of<float>(s) + at;
          for (int64_t o = 0; o < kLanes; ++o) sums[o] += from[o];
        }
        for (int64_t o = 0; o < outs; ++o) dw[((first_out + o) * in + i) * taps + tap] = sums[o];
      }
    }
  }
  if (!bias_) return;
  float* const db = static_cast<float*>(partials.outputs[1]);
  for (int64_t o = 0; o < out; ++o) {
    double sum = 0;
    for (int64_t s = 0; s < partials.slices; ++s) {
      sum += bias_sums_.sum_of(partials.first + s * partials.stride + bias_offset(), 0, o);
    }
    db[o] = static_cast<float>(sum);
  }
}

}  // namespace

std::unique_ptr<Kernel> weights_gradient(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  const Product product = product_for(parse_precision(call.integer(ConvolutionShape::kInts)));
  const bool bf16 = is_bf16(*call.input(0)) && is_bf16(*call.input(1));
  if (product == Product::none || !bf16 || !is_served(shape, false)) return nullptr;
  return std::make_unique<Gradient>(shape, product, call.output(1) != nullptr);
}

}  // namespace secateur::pairs
