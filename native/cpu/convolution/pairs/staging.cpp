#include "cpu/convolution/pairs/staging.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace secateur::pairs {

Scale Scale::of(uint16_t largest, int64_t integer) {
  constexpr uint16_t kInfinity = 0x7f80;
  if (largest >= kInfinity) return {0, std::numeric_limits<float>::quiet_NaN()};
  const float most = to_float(bfloat16{largest});
  if (most < kLeastScaled) return {0, 0};
  const float most_integer = static_cast<float>(integer);
  return {most_integer / most, most / most_integer};
}

int64_t PixelGrid::source(int64_t pixel) const {
  if (dense()) return pixel;
  const int64_t picture = pixel / pixels, rest = pixel % pixels;
  return picture * source_pixels + rest / columns * row_stride * source_width +
         rest % columns * column_stride;
}

void stage_pixels(const Kernels& kernels, Product product, const PixelGrid& grid,
                  const bfloat16* source, int64_t first, int64_t count, uint16_t* to, float* scales) {
  const int64_t channels = grid.channels;
  // A dense grid's pixels follow one another.
  const int64_t together = grid.dense() ? kPixelsInBlock : 1;
  for (int64_t block = 0; block < count; block += kPixelsInBlock) {
    const int64_t end = std::min(count, block + kPixelsInBlock);
    uint16_t largest = 0;
    for (int64_t i = block; i < end && product == Product::int16; i += together) {
      const bfloat16* const from = source + grid.source(first + i) * channels;
      largest = std::max(largest, kernels.largest(from, std::min(together, end - i) * channels));
    }
    const Scale scale = Scale::of(largest);
    for (int64_t i = block; i < end; i += together) {
      const bfloat16* const from = source + grid.source(first + i) * channels;
      const int64_t values = std::min(together, end - i) * channels;
      if (product == Product::int16) {
        kernels.quantise(from, values, scale.factor, to + i * channels);
      } else {
        std::memcpy(to + i * channels, from, static_cast<size_t>(values) * sizeof(uint16_t));
      }
    }
    if (product == Product::int16) std::fill(scales + block, scales + end, scale.back);
  }
}

}  // namespace secateur::pairs
