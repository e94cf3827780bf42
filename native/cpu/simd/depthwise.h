// Depthwise convolution: vectors of channels, straight from the picture, whose rows and columns of
// zeros are left out of the sums. Included by the simd_*.cpp files; see simd.h.
#pragma once

#include "cpu/simd/finish.h"
#include "cpu/simd/simd.h"

namespace secateur {
namespace {

#if defined(__AVX512F__)
constexpr int kWidestBlock = 8;  // pixels: 8 sums, a row of the filter and a source vector
#else
constexpr int kWidestBlock = 4;
#endif
// Filters of the channels done at a time stay in the first-level cache.
constexpr int64_t kFilterBytes = 16 << 10;

// A tap of the filter and where it reads, along one axis.
struct AxisTap {
  int64_t source, tap;
};

// The taps of output `at` that fall into the picture. Packed filters of the transpose are mirrored.
inline int64_t taps_inside(AxisTap* taps, int64_t at, int64_t extent, int64_t kernel, int64_t stride,
                           int64_t dilation, int64_t pad, bool transposed) {
  int64_t count = 0;
  for (int64_t tap = 0; tap < kernel; ++tap) {
    int64_t source = at * stride - pad + tap * dilation;
    if (transposed) {
      const int64_t distance = at + pad - (kernel - 1 - tap) * dilation;
      if (distance < 0 || distance % stride != 0) continue;
      source = distance / stride;
    }
    if (source < 0 || source >= extent) continue;
    taps[count++] = {source, tap};
  }
  return count;
}

template <bool kWhole, class X>
SECATEUR_INLINE Floats read_channels(const X* at, int count) {
  return kWhole ? read<Floats>(at) : read_some(at, count);
}

template <bool kWhole>
SECATEUR_INLINE void finish_channels(const DepthwiseSweep& s, int64_t at, Floats sum, Floats bias,
                                     int count) {
  const void* const residual = s.residual;
  const int lanes = kWhole ? kLanes : count;
  if (s.y_bf16) {
    finish_vector(residual == nullptr ? nullptr : static_cast<const bfloat16*>(residual) + at,
                  static_cast<bfloat16*>(s.y) + at, sum + bias, s.relu, lanes);
  } else {
    finish_vector(residual == nullptr ? nullptr : static_cast<const float*>(residual) + at,
                  static_cast<float*>(s.y) + at, sum + bias, s.relu, lanes);
  }
}

template <bool kWhole>
SECATEUR_INLINE Floats bias_of(const DepthwiseSweep& s, int64_t channel, int count) {
  return s.bias == nullptr ? Floats{} : read_channels<kWhole>(s.bias + channel, count);
}

// The rows of one output row's filter that fall into the picture, and a stretch of channels.
struct DepthwiseRow {
  const AxisTap* rows;
  int64_t row_count;
  int64_t y;  // first element of the output row
  int64_t first, last;  // channels
};

// Calls `whole(channel)` for whole vectors of a row's channels and `rest(channel, count)` for what is
// left.
template <class Whole, class Rest>
SECATEUR_INLINE void each_channels(const DepthwiseRow& row, Whole whole, Rest rest) {
  int64_t channel = row.first;
  for (; channel + kLanes <= row.last; channel += kLanes) whole(channel);
  if (channel < row.last) rest(channel, static_cast<int>(row.last - channel));
}

// Where a tap of one output lies, in elements of the picture and of a vector's weights.
struct PixelTap {
  int64_t source, weight;
};

template <class X, bool kWhole>
SECATEUR_INLINE void depthwise_taps(const DepthwiseSweep& s, const PixelTap* taps, int64_t count,
                                    int64_t at, int64_t channel, int lanes) {
  const X* const x = static_cast<const X*>(s.x) + channel;
  const float* const weights =
      s.weights + channel / kLanes * s.kernel_height * s.kernel_width * kLanes;
  Floats sum{};
  for (int64_t i = 0; i < count; ++i) {
    sum += read_channels<kWhole>(x + taps[i].source, lanes) *
           read<Floats>(weights + taps[i].weight);
  }
  finish_channels<kWhole>(s, at + channel, sum, bias_of<kWhole>(s, channel, lanes), lanes);
}

// One output, at borders and for strange strides.
template <class X>
void depthwise_pixel(const DepthwiseSweep& s, const DepthwiseRow& row, int64_t column) {
  AxisTap columns[kMostDepthwiseTaps];
  PixelTap taps[kMostDepthwiseTaps];
  const int64_t across = taps_inside(columns, column, s.in_width, s.kernel_width, s.stride_width,
                                     s.dilation_width, s.pad_left, s.transposed);
  int64_t count = 0;
  for (int64_t i = 0; i < row.row_count; ++i) {
    for (int64_t j = 0; j < across; ++j) {
      taps[count++] = {(row.rows[i].source * s.in_width + columns[j].source) * s.channels,
                       (row.rows[i].tap * s.kernel_width + columns[j].tap) * kLanes};
    }
  }
  const int64_t at = row.y + column * s.channels;
  each_channels(
      row, [&](int64_t channel) { depthwise_taps<X, true>(s, taps, count, at, channel, kLanes); },
      [&](int64_t channel, int lanes) {
        depthwise_taps<X, false>(s, taps, count, at, channel, lanes);
      });
}

// P neighbouring outputs whose taps all lie between the picture's left and right: each source vector
// is read once for all of them.
template <class X, int kWidth, int kStride, int P, bool kWhole>
SECATEUR_INLINE void depthwise_channels(const DepthwiseSweep& s, const DepthwiseRow& row,
                                        int64_t column, int64_t channel, int lanes) {
  constexpr int kSources = (P - 1) * kStride + kWidth;
  const int64_t step = s.channels;
  const X* const x =
      static_cast<const X*>(s.x) + (column * kStride - s.pad_left) * step + channel;
  const float* const weights = s.weights + channel / kLanes * s.kernel_height * kWidth * kLanes;
  Floats sums[P] = {};
  for (int64_t i = 0; i < row.row_count; ++i) {
    const X* line = x + row.rows[i].source * s.in_width * step;
    const float* const filter = weights + row.rows[i].tap * kWidth * kLanes;
    Floats taps[kWidth];
#pragma GCC unroll 8
    for (int k = 0; k < kWidth; ++k) taps[k] = read<Floats>(filter + k * kLanes);
#pragma GCC unroll 32
    for (int q = 0; q < kSources; ++q) {
      const Floats source = read_channels<kWhole>(line, lanes);
      // Too many streams for the processor to notice by itself.
      __builtin_prefetch(line + 2 * kLanes);
      line += step;
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        const int k = q - p * kStride;
        if (k >= 0 && k < kWidth) sums[p] += source * taps[k];
      }
    }
  }
  const Floats bias = bias_of<kWhole>(s, channel, lanes);
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) {
    finish_channels<kWhole>(s, row.y + (column + p) * step + channel, sums[p], bias, lanes);
  }
}

template <class X, int kWidth, int kStride, int P>
void depthwise_block(const DepthwiseSweep& s, const DepthwiseRow& row, int64_t column) {
  each_channels(
      row,
      [&](int64_t channel) {
        depthwise_channels<X, kWidth, kStride, P, true>(s, row, column, channel, kLanes);
      },
      [&](int64_t channel, int lanes) {
        depthwise_channels<X, kWidth, kStride, P, false>(s, row, column, channel, lanes);
      });
}

// Outputs [column, last) of a row in blocks of P, then of half as many.
template <class X, int kWidth, int kStride, int P>
void depthwise_blocks(const DepthwiseSweep& s, const DepthwiseRow& row, int64_t column,
                      int64_t last) {
  for (; column + P <= last; column += P) depthwise_block<X, kWidth, kStride, P>(s, row, column);
  if constexpr (P > 1) depthwise_blocks<X, kWidth, kStride, P / 2>(s, row, column, last);
}

// kWidth 0: whatever the sweep says.
template <class X, int kWidth, int kStride>
void depthwise_rows(const DepthwiseSweep& s) {
  const int64_t taps = s.kernel_height * s.kernel_width;
  int64_t stretch = kFilterBytes / (4 * taps) / kLanes * kLanes;
  if (stretch < 4 * kLanes) stretch = 4 * kLanes;
  // Columns [inner, outer) need no zeros on either side.
  int64_t inner = s.out_width, outer = s.out_width;
  if constexpr (kWidth > 0) {
    const int64_t room = s.in_width + s.pad_left - kWidth;
    inner = s.pad_left <= 0 ? 0 : (s.pad_left + kStride - 1) / kStride;
    outer = room < 0 ? 0 : room / kStride + 1;
    if (outer > s.out_width) outer = s.out_width;
    if (inner > outer) inner = outer = s.out_width;
  }
  AxisTap rows[kMostDepthwiseTaps];
  for (int64_t first = 0; first < s.channels; first += stretch) {
    const int64_t last = first + stretch < s.channels ? first + stretch : s.channels;
    for (int64_t y = s.first_row; y < s.last_row; ++y) {
      const int64_t count = taps_inside(rows, y, s.in_height, s.kernel_height, s.stride_height,
                                        s.dilation_height, s.pad_top, s.transposed);
      const DepthwiseRow row{rows, count, y * s.out_width * s.channels, first, last};
      for (int64_t column = 0; column < inner; ++column) depthwise_pixel<X>(s, row, column);
      if constexpr (kWidth > 0) {
        depthwise_blocks<X, kWidth, kStride, kWidestBlock>(s, row, inner, outer);
      }
      for (int64_t column = outer; column < s.out_width; ++column) {
        depthwise_pixel<X>(s, row, column);
      }
    }
  }
}

template <class X>
void convolve_depthwise_of(const DepthwiseSweep& s) {
  const bool plain = !s.transposed && s.dilation_width == 1;
  const int64_t width = plain ? s.kernel_width : 0, stride = s.stride_width;
  if (width == 3 && stride == 1) return depthwise_rows<X, 3, 1>(s);
  if (width == 3 && stride == 2) return depthwise_rows<X, 3, 2>(s);
  if (width == 5 && stride == 1) return depthwise_rows<X, 5, 1>(s);
  if (width == 5 && stride == 2) return depthwise_rows<X, 5, 2>(s);
  if (width == 7 && stride == 1) return depthwise_rows<X, 7, 1>(s);
  depthwise_rows<X, 0, 1>(s);
}

void convolve_depthwise(const DepthwiseSweep& s) {
  s.x_bf16 ? convolve_depthwise_of<bfloat16>(s) : convolve_depthwise_of<float>(s);
}

}  // namespace
}  // namespace secateur
