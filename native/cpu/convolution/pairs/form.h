// Which convolutions are made of dot products of pairs, and how their weights are packed for it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cpu/convolution/pairs/kernels.h"
#include "cpu/convolution/shape.h"
#include "program/precision.h"

namespace secateur::pairs {

// Outputs that share their taps; see Phase in cpu/convolution/shape.h.
struct PairPhase {
  int64_t rows, columns, y_row, y_column;
  std::vector<Run> runs;
};

// A convolution or its transpose: weights [panel][pair][kLanes][2] of 16 bits, then a scale for each
// output, f32. `values` holds which of the portable form's rows each pair's two values are, -1 for none.
struct Form {
  ConvolutionShape shape;
  bool backward;
  Product product;
  Correlation correlation;
  std::vector<PairPhase> phases;
  std::vector<int64_t> values;  // [pair][2]

  // What a pack_convolution asks for; nullopt where this method does not serve it.
  static std::optional<Form> of(std::span<const int64_t> ints);

  int64_t outputs() const { return backward ? shape.in_channels : shape.out_channels; }
  int64_t panels() const { return (outputs() + kLanes - 1) / kLanes; }
  int64_t pairs() const { return static_cast<int64_t>(values.size()) / 2; }
  int64_t panel() const { return pairs() * kLanes * 2; }
  int64_t scales_offset() const { return panels() * panel() * 2; }  // bytes
  int64_t bytes() const { return scales_offset() + panels() * kLanes * 4; }
  // The weight [out, in, tap] of an output at a row of the portable form.
  int64_t index(int64_t output, int64_t row) const;
};

// Whether there is enough to multiply for what is converted; `backward` towards the inputs.
bool is_served(const ConvolutionShape& shape, bool backward);

// The product that this machine takes in this precision.
Product product_for(Precision precision);
const Kernels& kernels_for(Product product);

}  // namespace secateur::pairs
