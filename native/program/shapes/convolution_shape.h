// The shape of a convolution as CONVOLUTION of operations.def gives it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace secateur {

// Taps of a depthwise filter that has its own kernels: more than any network in use.
constexpr int64_t kMostDepthwiseTaps = 128;

struct ConvolutionShape {
  int64_t in_height, in_width, in_channels, out_height, out_width, out_channels;
  int64_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
  int64_t dilation_height, dilation_width, groups;

  static constexpr size_t kInts = 15;
  // Throws Error("program-invalid") where the numbers make no convolution.
  static ConvolutionShape parse(std::span<const int64_t> ints);

  int64_t taps() const { return kernel_height * kernel_width; }
  int64_t group_in() const { return in_channels / groups; }
  int64_t group_out() const { return out_channels / groups; }
  // One filter per channel: vectors run over channels instead of over a group's outputs.
  bool depthwise() const {
    return groups > 1 && groups == in_channels && groups == out_channels &&
           taps() <= kMostDepthwiseTaps;
  }
  // Every output pixel is a product with the same input pixel.
  bool pointwise() const {
    return taps() == 1 && stride_height == 1 && stride_width == 1 && pad_top == 0 &&
           pad_left == 0 && in_height == out_height && in_width == out_width;
  }
  std::vector<int64_t> picture() const { return {in_height, in_width, in_channels}; }
  std::vector<int64_t> result() const { return {out_height, out_width, out_channels}; }
  std::vector<int64_t> weight_shape() const {
    return {out_channels, group_in(), kernel_height, kernel_width};
  }
};

}  // namespace secateur
