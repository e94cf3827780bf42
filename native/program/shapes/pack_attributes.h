// What a pack_convolution is asked for, as operations.def gives it.
#pragma once

#include <cstdint>
#include <span>

#include "program/shapes/convolution_shape.h"
#include "program/precision.h"

namespace secateur {

struct PackAttributes {
  ConvolutionShape shape;
  bool backward;
  Precision precision;

  // Throws Error("program-invalid") where the numbers are not as many, or make no sense.
  static PackAttributes parse(std::span<const int64_t> ints);
};

}  // namespace secateur
