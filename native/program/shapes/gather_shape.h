// The shape of a gather as operations.def gives it.
#pragma once

#include <cstdint>
#include <vector>

#include "program/call.h"

namespace secateur {

struct GatherShape {
  int64_t in_height, in_width, in_channels, out_height, out_width, out_channels;
  int64_t start_row, start_column, stride_height, stride_width;

  // Of a gather or its gradient. Throws Error("program-invalid").
  static GatherShape parse(const Call& call);

  std::vector<int64_t> picture() const { return {in_height, in_width, in_channels}; }
  std::vector<int64_t> gathered() const { return {out_height, out_width, out_channels}; }
  int64_t in_elements() const { return in_height * in_width * in_channels; }
  int64_t out_elements() const { return out_height * out_width * out_channels; }
};

}  // namespace secateur
