// Convolution by dot products of pairs: instructions that multiply two values of 16 bits in each lane
// by two others and add both products to one of 32, twice as many as an FMA does.
//
//   bf16   AVX512_BF16's vdpbf16ps. Values as they are stored, sums in f32.
//   int16  AVX512_VNNI's vpdpwssd. Values in block floating point: integers with one scale for a few
//          pixels or a picture, weights with one scale for an output; sums in int32, which a chain of
//          kChain pairs cannot overflow, and from there in f32.
//
// Compiled for AVX-512 alone: to be called only where cpu_features() has the instruction.
#pragma once

#include <cstdint>

#include "bfloat16.h"

namespace secateur::pairs {

enum class Product { none, bf16, int16 };

// Magnitudes of int16 operands: 2 * kChain products of the largest fit an int32.
constexpr int64_t kLargestValue = 1 << 14, kLargestWeight = (1 << 11) - 1, kChain = 32;
// The same where neither side is weights.
constexpr int64_t kLargestInput = (1 << 12) - 1, kLargestGradient = (1 << 13) - 1;
// Where nothing is larger than this, everything counts as zero: its scale's inverse is out of range.
constexpr float kLeastScaled = 1e-30f;
static_assert(2 * kChain * kLargestValue * kLargestWeight < int64_t{1} << 31);
static_assert(2 * kChain * kLargestInput * kLargestGradient < int64_t{1} << 31);

constexpr int64_t kLanes = 16;  // outputs in a panel of weights

// A stretch of taps that lies contiguously in the source and in the packed weights.
struct Run {
  int64_t source;  // values from the output pixel's first source pixel
  int64_t row;     // first pair of the packed weights
  int64_t pairs;   // the last value of the last may belong to no tap; its weight is zero
};

// A grid of outputs that share their taps: y(r, c) = sum over runs of source(r, c) * weights.
struct Sweep {
  const uint16_t* source;
  int64_t row_step, column_step;  // values between the source pixels of neighbouring outputs
  const Run* runs;
  int64_t run_count;
  const uint16_t* weights;  // [panel][pair][kLanes][2]
  int64_t panel;            // values of a panel
  // Scales of int16: of each output's weights, of the source pixels of each column (scale_step 1) or
  // of all of them (0).
  const float* weight_scales;
  const float* scales;
  int64_t scale_step;
  int64_t rows, columns, channels;
  void* y;
  bool y_bf16;
  int64_t y_row_step, y_column_step;  // elements
  const float* bias;                  // or nullptr
  const void* residual;               // y's type and steps, or nullptr
  bool relu;
};

// sums[m][n] += scale * sum over rows and pairs of a(row, pair)[m] . b(row, pair)[n], each two values
// of neighbouring pixels.
struct PixelSums {
  const uint16_t* const* a;  // [rows]; nullptr for a row of zeros
  const uint16_t* const* b;
  int64_t a_step, b_step;  // values between pairs
  int64_t rows, pairs;
  int64_t m, n;  // n is a multiple of kLanes
  float* sums;
  int64_t sums_step;
  float scale;
};

struct Kernels {
  void (*convolve)(const Sweep&);
  // The largest magnitude, as the bits of a bf16: a NaN's are above infinity's.
  uint16_t (*largest)(const bfloat16* values, int64_t count);
  // to = values * factor, rounded to nearest; magnitudes up to kLargestValue.
  void (*quantise)(const bfloat16* values, int64_t count, float factor, uint16_t* to);

  void (*correlate)(const PixelSums&);
  // to[i] = first[i], second[i], for int16 times factor; nullptr stands for zeros.
  void (*interleave)(const bfloat16* first, const bfloat16* second, int64_t count, float factor,
                     uint16_t* to);
};

const Kernels& bf16_kernels();        // pairs/bf16_avx512.cpp
const Kernels& int16_kernels();       // pairs/int16_avx512.cpp
const Kernels& int16_bf16_kernels();  // the same, where the processor rounds to bf16 itself

}  // namespace secateur::pairs
