// Weights as the convolutions of this folder read them.
#pragma once

#include <cstdint>
#include <span>

#include "program/shapes/convolution_shape.h"

namespace secateur::cuda {

// [group][tap and source channel][result channel] f32: rows are tap by tap, channels innermost.
// Forward, sources are inputs and results outputs; for gradients of the data it is the other way
// round, and taps are not mirrored.
struct PackedForm {
  int64_t groups, taps, sources, results;  // channels of a group

  PackedForm(const ConvolutionShape& shape, bool backward)
      : groups(shape.groups), taps(shape.taps()),
        sources(backward ? shape.group_out() : shape.group_in()),
        results(backward ? shape.group_in() : shape.group_out()) {}
  int64_t rows() const { return taps * sources; }
  int64_t elements() const { return groups * rows() * results; }
  int64_t bytes() const { return elements() * static_cast<int64_t>(sizeof(float)); }
};

// Of pack_convolution's output for these ints. Throws Error("program-invalid").
int64_t packed_bytes(std::span<const int64_t> ints);

}  // namespace secateur::cuda
