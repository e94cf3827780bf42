#include "cpu/convolution/shape.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "program/call.h"
#include "error.h"

namespace secateur {

namespace {

constexpr int64_t kLargest = 1 << 20;
// Of one padded picture, in elements.
constexpr int64_t kLargestPicture = int64_t{1} << 28;

// One tap of one phase: where it reads, relative to the output's first source pixel.
struct Tap {
  int64_t row, column, index;
};

void append_taps(Phase& phase, const std::vector<Tap>& taps, const PaddedPicture& picture,
                 int64_t group_channels) {
  for (const Tap& tap : taps) {
    const int64_t pixel = (tap.row + picture.top) * picture.width + tap.column + picture.left;
    const Run run{pixel * picture.channels, tap.index * group_channels, group_channels};
    phase.offsets.push_back(run.source);
    Run* const last = phase.runs.empty() ? nullptr : &phase.runs.back();
    if (last != nullptr && last->source + last->length == run.source &&
        last->row + last->length == run.row) {
      last->length += run.length;
    } else {
      phase.runs.push_back(run);
    }
  }
}

void check_picture(const PaddedPicture& picture) {
  if (picture.height <= kLargest && picture.width <= kLargest &&
      picture.height * picture.width <= kLargestPicture / picture.channels) {
    return;
  }
  throw Error("program-invalid", "expected padding and dilation of a sensible size, found a padded "
                                 "picture of " +
                                     std::to_string(picture.height) + " x " +
                                     std::to_string(picture.width) + " x " +
                                     std::to_string(picture.channels) + ".");
}

// Completes a picture that must show rows [-top, needed_height - top) of the source.
void fit_picture(PaddedPicture& picture, const Extents& source) {
  picture.copied_height = std::clamp<int64_t>(picture.height - picture.top, 0, source.height);
  picture.copied_width = std::clamp<int64_t>(picture.width - picture.left, 0, source.width);
  picture.whole = picture.top == 0 && picture.left == 0 && picture.height <= source.height &&
                  picture.width <= source.width;
  if (picture.whole) {
    picture.height = picture.copied_height = source.height;
    picture.width = picture.copied_width = source.width;
  }
  check_picture(picture);
}

Extents input_of(const ConvolutionShape& s) { return {s.in_height, s.in_width, s.in_channels}; }
Extents output_of(const ConvolutionShape& s) {
  return {s.out_height, s.out_width, s.out_channels};
}

// What reads `source`, as far as `picture` shows it, and writes y, step by step.
Correlation correlation_of(const Extents& source, const Extents& y, PaddedPicture picture) {
  picture.channels = source.channels;
  fit_picture(picture, source);
  return {.picture = picture,
          .phases = {},
          .source_channels = source.channels,
          .source_width = source.width,
          .y_height = y.height,
          .y_width = y.width,
          .y_channels = y.channels,
          .row_stride = 1,
          .column_stride = 1,
          .y_row_stride = 1,
          .y_column_stride = 1};
}

// Along one axis of the transpose: outputs at residue r of the stride read source q + e.
struct AxisTap {
  int64_t source, index;  // e, and the mirrored tap
};

std::vector<AxisTap> axis_taps(int64_t residue, int64_t kernel, int64_t stride, int64_t dilation,
                               int64_t pad) {
  std::vector<AxisTap> taps;
  for (int64_t k = kernel - 1; k >= 0; --k) {
    const int64_t distance = residue + pad - k * dilation;
    if (distance % stride == 0) taps.push_back({distance / stride, kernel - 1 - k});
  }
  return taps;
}

// The source rows that all residues read: [first, last).
void axis_range(int64_t extent, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad,
                int64_t& first, int64_t& last) {
  first = 0;
  last = 1;
  for (int64_t residue = 0; residue < std::min(stride, extent); ++residue) {
    const int64_t outputs = (extent - residue + stride - 1) / stride;
    for (const AxisTap& tap : axis_taps(residue, kernel, stride, dilation, pad)) {
      first = std::min(first, tap.source);
      last = std::max(last, tap.source + outputs);
    }
  }
}

}  // namespace

PackedForm::PackedForm(const ConvolutionShape& shape, bool backward, int64_t its_lanes)
    : groups(shape.groups), outputs(backward ? shape.group_in() : shape.group_out()),
      rows(shape.taps() * (backward ? shape.group_out() : shape.group_in())), lanes(its_lanes) {
  if (!shape.depthwise()) return;
  groups = 1;
  outputs = shape.in_channels;
  rows = shape.taps();
}

void PaddedPicture::fill_rows(const VectorKernels& vectors, const void* source, bool bf16,
                              int64_t source_width, float* at, int64_t first, int64_t last) const {
  const int64_t row = copied_width * channels;
  for (int64_t i = std::max<int64_t>(first - top, 0); i < std::min(last - top, copied_height); ++i) {
    float* const to = at + ((i + top) * width + left) * channels;
    const int64_t from = i * source_width * channels;
    if (bf16) {
      vectors.widen(static_cast<const bfloat16*>(source) + from, row, to);
    } else {
      std::memcpy(to, static_cast<const float*>(source) + from,
                  static_cast<size_t>(row) * sizeof(float));
    }
  }
}

Correlation Correlation::forward(const ConvolutionShape& s) {
  PaddedPicture picture;
  picture.top = s.pad_top;
  picture.left = s.pad_left;
  picture.height = (s.out_height - 1) * s.stride_height + (s.kernel_height - 1) * s.dilation_height + 1;
  picture.width = (s.out_width - 1) * s.stride_width + (s.kernel_width - 1) * s.dilation_width + 1;
  Correlation result = correlation_of(input_of(s), output_of(s), picture);
  result.row_stride = s.stride_height;
  result.column_stride = s.stride_width;
  std::vector<Tap> taps;
  for (int64_t i = 0; i < s.kernel_height; ++i) {
    for (int64_t j = 0; j < s.kernel_width; ++j) {
      taps.push_back({i * s.dilation_height - s.pad_top, j * s.dilation_width - s.pad_left,
                      i * s.kernel_width + j});
    }
  }
  Phase phase{s.out_height, s.out_width, 0, 0, {}, {}};
  append_taps(phase, taps, result.picture, s.group_in());
  result.phases.push_back(std::move(phase));
  return result;
}

Correlation Correlation::backward(const ConvolutionShape& s) {
  int64_t first_row, last_row, first_column, last_column;
  axis_range(s.in_height, s.kernel_height, s.stride_height, s.dilation_height, s.pad_top, first_row,
             last_row);
  axis_range(s.in_width, s.kernel_width, s.stride_width, s.dilation_width, s.pad_left, first_column,
             last_column);
  PaddedPicture picture;
  picture.top = -first_row;
  picture.left = -first_column;
  picture.height = last_row - first_row;
  picture.width = last_column - first_column;
  Correlation result = correlation_of(output_of(s), input_of(s), picture);
  result.y_row_stride = s.stride_height;
  result.y_column_stride = s.stride_width;
  for (int64_t i = 0; i < std::min(s.stride_height, s.in_height); ++i) {
    const auto rows = axis_taps(i, s.kernel_height, s.stride_height, s.dilation_height, s.pad_top);
    for (int64_t j = 0; j < std::min(s.stride_width, s.in_width); ++j) {
      const auto columns =
          axis_taps(j, s.kernel_width, s.stride_width, s.dilation_width, s.pad_left);
      std::vector<Tap> taps;
      for (const AxisTap& row : rows) {
        for (const AxisTap& column : columns) {
          taps.push_back({row.source, column.source, row.index * s.kernel_width + column.index});
        }
      }
      Phase phase{(s.in_height - i + s.stride_height - 1) / s.stride_height,
                  (s.in_width - j + s.stride_width - 1) / s.stride_width, i, j, {}, {}};
      append_taps(phase, taps, result.picture, s.group_out());
      result.phases.push_back(std::move(phase));
    }
  }
  return result;
}

}  // namespace secateur
