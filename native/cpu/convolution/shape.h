// How the portable kernels see a convolution.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cpu/simd/vector_kernels.h"
#include "program/shapes/convolution_shape.h"

namespace secateur {

// Weights as the portable kernels read them: [group][vector of outputs][row][lane] f32, rows in the
// order [tap][input channel]; taps are mirrored for the backward pass. Depthwise filters are one
// group whose rows are the taps.
struct PackedForm {
  int64_t groups, outputs, rows, lanes;

  PackedForm(const ConvolutionShape& shape, bool backward, int64_t lanes);
  int64_t vectors() const { return (outputs + lanes - 1) / lanes; }
  int64_t panel() const { return rows * lanes; }
  int64_t group() const { return vectors() * panel(); }
  int64_t elements() const { return groups * group(); }
};

// One picture with zeros around it, f32: what convolution sweeps read.
struct PaddedPicture {
  int64_t height = 0, width = 0, channels = 0;  // with the zeros
  int64_t top = 0, left = 0;
  int64_t copied_height = 0, copied_width = 0;  // of the source that is needed
  bool whole = false;  // the source itself will do when it is f32

  int64_t elements() const { return height * width * channels; }
  // Copies the source between the zeros, which must be there already.
  void fill(const VectorKernels& vectors, const void* source, bool bf16, int64_t source_width,
            float* at) const {
    fill_rows(vectors, source, bf16, source_width, at, 0, height);
  }
  // Those of the padded rows [first, last) that show the source.
  void fill_rows(const VectorKernels& vectors, const void* source, bool bf16, int64_t source_width,
                 float* at, int64_t first, int64_t last) const;
};

// Outputs that share their taps: all of them forward, one residue of the stride each backward.
struct Phase {
  int64_t rows, columns;      // outputs
  int64_t y_row, y_column;    // the first output
  std::vector<Run> runs;      // source offsets within the padded picture, of channel 0
  std::vector<int64_t> offsets;  // the same tap by tap, for depthwise
};

// Forward convolution, or its transpose, as correlations over a padded picture.
struct Correlation {
  PaddedPicture picture;
  std::vector<Phase> phases;
  int64_t source_channels, source_width;  // of the unpadded source
  int64_t y_height, y_width, y_channels;
  int64_t row_stride, column_stride;      // of the source between neighbouring outputs of a phase
  int64_t y_row_stride, y_column_stride;  // of y

  static Correlation forward(const ConvolutionShape& shape);
  static Correlation backward(const ConvolutionShape& shape);
};

}  // namespace secateur
