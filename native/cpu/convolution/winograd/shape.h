// Which convolutions go through winograd.cpp, and how their pictures are cut into tiles.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "cpu/convolution/shape.h"
#include "cpu/convolution/winograd/kernels.h"
#include "cpu/parts.h"
#include "program/call.h"
#include "program/precision.h"
#include "program/program.h"

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
  // Tiles in a block whose transformed tiles, of source and result, take so many bytes; 16 to 64 of
  // them, eights.
  int64_t block_tiles(int64_t bytes) const;
};

// Whether this machine convolves so in this precision.
bool is_served(Precision precision);

// Room for the transformed tiles of a block, with a gap after each plane so that they do not all
// fall on the same sets of the cache.
struct TileRoom {
  int64_t tiles, channels;
  int64_t plane() const { return tiles * Tiles::kFloats + 16; }
  int64_t floats() const { return padded_channels(channels) / 16 * plane(); }
  Tiles at(float* first) const { return {first, plane()}; }
};

// The tiles of rows [first, last) of tiles of one picture after another.
class TileWalk {
 public:
  TileWalk(const Tiling& tiling, const Range& rows)
      : rows_(rows), columns_(tiling.tile_columns()), row_(rows.first) {}

  int64_t image() const { return image_; }
  int64_t row() const { return row_ * kTile; }  // of its first output
  int64_t column() const { return column_ * kTile; }

  void next() {
    if (++column_ < columns_) return;
    column_ = 0;
    if (++row_ < rows_.last) return;
    row_ = rows_.first;
    ++image_;
  }

 private:
  const Range rows_;
  const int64_t columns_;
  int64_t image_ = 0, row_, column_ = 0;
};

}  // namespace secateur::winograd
