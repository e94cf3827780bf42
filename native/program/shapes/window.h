// Pooling's windows as WINDOW of operations.def gives them.
#pragma once

#include <cstdint>
#include <vector>

#include "program/call.h"

namespace secateur {

struct Window {
  int64_t in_height, in_width, channels, out_height, out_width;
  int64_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
  bool count_padding;  // average_pool: divides by the window's cells

  // Of a max_pool or average_pool, or of its gradient. Throws Error("program-invalid").
  static Window parse(const Call& call, bool maximum);

  std::vector<int64_t> picture() const { return {in_height, in_width, channels}; }
  std::vector<int64_t> pooled() const { return {out_height, out_width, channels}; }
};

}  // namespace secateur
