// Which convolutions go through winograd.cpp, and how their pictures are cut into tiles.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "cpu/call.h"
#include "cpu/convolution_shape.h"
#include "cpu/precision.h"
#include "program.h"
#include "winograd_kernels.h"

namespace secateur::winograd {

constexpr int64_t padded_channels(int64_t channels) { return (channels + 15) / 16 * 16; }

// A 3x3 correlation of stride 1 from one picture to another, the convolution or its transpose, and
// the tiles it is cut into.
struct Tiling {
  int64_t source_height, source_width, source_channels;
  int64_t result_height, result_width, result_channels;
  int64_t top, left;  // padding

  // nullopt where the shape is not one that this method serves, or not faster.
  static std::optional<Tiling> of(const ConvolutionShape& shape, bool backward);

  int64_t source_elements() const { return source_height * source_width * source_channels; }
  int64_t result_elements() const { return result_height * result_width * result_channels; }
  int64_t tile_rows() const { return (result_height + kTile - 1) / kTile; }
  int64_t tile_columns() const { return (result_width + kTile - 1) / kTile; }
  int64_t tiles() const { return tile_rows() * tile_columns(); }
  // The source with the zeros that its tiles reach.
  int64_t padded_rows() const { return tile_rows() * kTile + 2; }
  int64_t padded_columns() const { return tile_columns() * kTile + 2; }
  int64_t padded_elements() const {
    return padded_rows() * padded_columns() * padded_channels(source_channels);
  }
};

// Whether this machine convolves so in this precision.
bool is_served(Precision precision);

// The 36 elements of the tiles of a block, each of them Planes, with a gap after each so that they
// do not all fall on the same sets of the cache.
struct Elements {
  int64_t tiles, channels;
  int64_t row() const { return padded_channels(channels); }
  int64_t plane() const { return tiles * 16; }
  int64_t stride() const { return tiles * row() + 16; }
  int64_t floats() const { return kElements * stride(); }
  Planes of(float* first, int64_t element) const { return {first + element * stride(), plane()}; }
};

}  // namespace secateur::winograd
