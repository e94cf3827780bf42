// Pictures as products of pairs read them: bf16, or int16 with scales.
#pragma once

#include <cstdint>

#include "cpu/convolution/pairs/kernels.h"

namespace secateur::pairs {

// What int16 values of a block are multiplied by to get them, and back.
struct Scale {
  float factor, back;

  // Of values whose largest magnitude has these bits and becomes `integer`. Where it is no number,
  // nothing is one afterwards.
  static Scale of(uint16_t largest, int64_t integer = kLargestValue);
};

// Pixels that share a scale, where each output reads a pixel of its own.
constexpr int64_t kPixelsInBlock = 8;

// What of the source a convolution reads, one pixel of the result after another.
struct PixelGrid {
  int64_t columns, row_stride, column_stride;  // of the result; in pixels of the source
  int64_t source_width, source_pixels;         // of a picture
  int64_t pixels;                              // of a picture of the result
  int64_t channels;

  // Whether pixels of the result and of the source are one and the same.
  bool dense() const { return columns == source_width && pixels == source_pixels; }
  int64_t source(int64_t pixel) const;  // the pixel of the source, both counted over all pictures
};

// Pixels [first, first + count) of the grid, in blocks from `first` on: to [count][channels], and for
// int16 scales [count].
void stage_pixels(const Kernels& kernels, Product product, const PixelGrid& grid,
                  const bfloat16* source, int64_t first, int64_t count, uint16_t* to, float* scales);

}  // namespace secateur::pairs
