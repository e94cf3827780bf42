#include "cpu/convolution/winograd/shape.h"

#include <algorithm>

#include "cpu_features.h"

namespace secateur::winograd {

namespace {

// Filters (pairs of channels) between which this method was measured to be faster: with fewer,
// transforms cost more than products; with more, transformed weights crowd the second-level cache.
constexpr int64_t kFewestFilters = 80, kMostFilters = 128 * 128;

// Tiles at the edges compute outputs that nobody reads; too many of them eat up the gain.
bool fills_tiles(const Tiling& tiling) {
  return tiling.tiles() * kTile * kTile * 2 <= tiling.result_height * tiling.result_width * 3;
}

}  // namespace

std::optional<Tiling> Tiling::of(const ConvolutionShape& s, bool backward) {
  const bool fits = s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == 1 &&
                    s.stride_width == 1 && s.dilation_height == 1 && s.dilation_width == 1 &&
                    s.groups == 1 && s.pad_top <= 2 && s.pad_left <= 2 &&
                    s.in_channels * s.out_channels >= kFewestFilters &&
                    s.in_channels * s.out_channels <= kMostFilters;
  // Nothing is cut off, and padding at the end is at most 2 as well.
  const auto whole = [](int64_t in, int64_t out, int64_t begin) {
    const int64_t end = out + 2 - in - begin;
    return end >= 0 && end <= 2;
  };
  if (!fits || !whole(s.in_height, s.out_height, s.pad_top) ||
      !whole(s.in_width, s.out_width, s.pad_left)) {
    return std::nullopt;
  }
  const Tiling tiling =
      backward ? Tiling{s.out_height, s.out_width, s.out_channels,  s.in_height,
                        s.in_width,   s.in_channels, 2 - s.pad_top, 2 - s.pad_left}
               : Tiling{s.in_height, s.in_width,     s.in_channels, s.out_height,
                        s.out_width, s.out_channels, s.pad_top,     s.pad_left};
  if (!fills_tiles(tiling)) return std::nullopt;
  return tiling;
}

int64_t Tiling::block_tiles(int64_t bytes) const {
  const int64_t channels = padded_channels(source_channels) + padded_channels(result_channels);
  return std::clamp<int64_t>(bytes / (4 * kElements * channels) / 8 * 8, 16, 64);
}

bool is_served(Precision precision) {
  const CpuFeatures features = cpu_features();
  switch (precision) {
    case Precision::f32:
      return false;
    case Precision::bf16:
      return features.avx512 && !features.amx_bf16;
    case Precision::f32_fast:
      return features.avx512;
  }
  return false;
}

}  // namespace secateur::winograd
