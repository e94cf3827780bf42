// Tiles to pixels, and what follows a convolution: included by the winograd_output_*avx512.cpp files
// only, which differ in how they round to bf16.
#pragma once

#include "cpu/convolution/winograd/kernels.h"
#include "cpu/convolution/winograd/lanes.h"

namespace secateur::winograd {
namespace {

// Result is the type of the outputs' values, Added that of the residual's.
template <class Result, class Added>
void transform_output_of(const Image& image, int64_t row, int64_t column, const Tiles& tiles,
                         const Epilogue& epilogue) {
  const int64_t rows = image.height - row < kTile ? image.height - row : kTile;
  const int64_t columns = image.width - column < kTile ? image.width - column : kTile;
  const Image* const residual = epilogue.residual;
  const Lanes least = _mm512_set1_ps(epilogue.relu ? 0 : -__builtin_inff());
  const float* m = tiles.values;
  for (int64_t c = 0; c < image.channels; c += kLanes, m += tiles.plane) {
    Row<4> half[6];
#pragma GCC unroll 6
    for (int j = 0; j < 6; ++j) {
      const auto at = [&](int i) { return _mm512_loadu_ps(m + (i * 6 + j) * kLanes); };
      half[j] = output_row(at(0), at(1), at(2), at(3), at(4), at(5));
    }
    const __mmask16 lanes = lanes_at(c, image.channels);
#pragma GCC unroll 4
    for (int i = 0; i < kTile; ++i) {
      if (i >= rows) break;
      const Row<4> done = output_row(half[0].v[i], half[1].v[i], half[2].v[i], half[3].v[i],
                                     half[4].v[i], half[5].v[i]);
      const int64_t first = ((row + i) * image.width + column) * image.channels + c;
#pragma GCC unroll 4
      for (int j = 0; j < kTile; ++j) {
        if (j >= columns) break;
        const int64_t at = first + j * image.channels;
        Lanes y = done.v[j];
        if (residual != nullptr) y += read(static_cast<const Added*>(residual->values) + at, lanes);
        y = _mm512_max_ps(least, y);  // keeps a NaN
        write(static_cast<Result*>(image.values) + at, lanes, y);
      }
    }
  }
}

OutputTransform* output_transform_for(bool result_bf16, bool added_bf16) {
  if (result_bf16) {
    return added_bf16 ? transform_output_of<uint16_t, uint16_t>
                      : transform_output_of<uint16_t, float>;
  }
  return added_bf16 ? transform_output_of<float, uint16_t> : transform_output_of<float, float>;
}

}  // namespace
}  // namespace secateur::winograd
