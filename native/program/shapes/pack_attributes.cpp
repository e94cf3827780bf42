#include "program/shapes/pack_attributes.h"

#include <string>

#include "error.h"
#include "program/program.h"

namespace secateur {

PackAttributes PackAttributes::parse(std::span<const int64_t> ints) {
  const size_t expected = operations()[static_cast<size_t>(Op::pack_convolution)].ints.size();
  if (ints.size() != expected) {
    throw Error("program-invalid", "Expected " + std::to_string(expected) +
                                       " numbers to describe packed weights, found " +
                                       std::to_string(ints.size()) + ".");
  }
  const auto shape = ConvolutionShape::parse(ints);
  const int64_t direction = ints[ConvolutionShape::kInts];
  if (direction < 0 || direction > 1) {
    throw Error("program-invalid",
                "Expected a direction of 0 or 1, found " + std::to_string(direction) + ".");
  }
  return {shape, direction == 1, parse_precision(ints[ConvolutionShape::kInts + 1])};
}

}  // namespace secateur
