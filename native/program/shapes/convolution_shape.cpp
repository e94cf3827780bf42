#include "program/shapes/convolution_shape.h"

#include <algorithm>
#include <string>

#include "error.h"

namespace secateur {

namespace {

constexpr int64_t kLargest = 1 << 20;
// What padding may make of a picture: what a large map with wide dilations has (33 x 33 x 2048 padded
// by 36 takes 2^24.4), or a few times what it has itself; and of a side, in filters and pictures.
// src/graph draws the same line.
constexpr int64_t kLargestPadded = int64_t{1} << 25;
constexpr int64_t kMostGrowth = 4;

const char* const kNames[] = {"in_height",       "in_width",       "in_channels",  "out_height",
                              "out_width",       "out_channels",   "kernel_height", "kernel_width",
                              "stride_height",   "stride_width",   "pad_top",       "pad_left",
                              "dilation_height", "dilation_width", "groups"};

// Refuses padding far beyond what a filter can need: it would take memory and time for zeros.
void check_padding(const ConvolutionShape& s) {
  const int64_t reach_height = s.dilation_height * (s.kernel_height - 1) + 1;
  const int64_t reach_width = s.dilation_width * (s.kernel_width - 1) + 1;
  const int64_t height = (s.out_height - 1) * s.stride_height + reach_height;
  const int64_t width = (s.out_width - 1) * s.stride_width + reach_width;
  const int64_t most =
      std::max(kLargestPadded, kMostGrowth * s.in_height * s.in_width * s.in_channels);
  const bool holds =
      height <= most && width <= most / height && height * width <= most / s.in_channels;
  const int64_t tallest = kMostGrowth * (s.in_height + reach_height);
  const int64_t widest = kMostGrowth * (s.in_width + reach_width);
  if (holds && s.pad_top <= tallest && height - s.pad_top - s.in_height <= tallest &&
      s.pad_left <= widest && width - s.pad_left - s.in_width <= widest) {
    return;
  }
  throw Error("program-invalid", "expected padding and dilation of a sensible size, found " +
                                     std::to_string(height) + " x " + std::to_string(width) +
                                     " pixels read of a picture of " +
                                     std::to_string(s.in_height) + " x " +
                                     std::to_string(s.in_width) + ".");
}

}  // namespace

ConvolutionShape ConvolutionShape::parse(std::span<const int64_t> ints) {
  for (size_t i = 0; i < kInts; ++i) {
    const int64_t least = i == 10 || i == 11 ? 0 : 1;
    if (ints[i] >= least && ints[i] <= kLargest) continue;
    throw Error("program-invalid", std::string("expected ") + kNames[i] + " between " +
                                       std::to_string(least) + " and " + std::to_string(kLargest) +
                                       ", found " + std::to_string(ints[i]) + ".");
  }
  const ConvolutionShape shape{ints[0], ints[1], ints[2],  ints[3],  ints[4],
                               ints[5], ints[6], ints[7],  ints[8],  ints[9],
                               ints[10], ints[11], ints[12], ints[13], ints[14]};
  if (shape.in_channels % shape.groups != 0 || shape.out_channels % shape.groups != 0) {
    throw Error("program-invalid", "expected " + std::to_string(shape.groups) +
                                       " groups to divide the channels, found " +
                                       std::to_string(shape.in_channels) + " in and " +
                                       std::to_string(shape.out_channels) + " out.");
  }
  if (shape.taps() > kLargest) {
    throw Error("program-invalid", "expected a filter of at most " + std::to_string(kLargest) +
                                       " taps, found " + std::to_string(shape.taps()) + ".");
  }
  check_padding(shape);
  return shape;
}

}  // namespace secateur
