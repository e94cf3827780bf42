// How work is divided into units and blocks. Apart from launch.h, whose kernel no host compiler takes.
#pragma once

#include <cstdint>
#include <string>

#include "error.h"

namespace secateur::cuda {

constexpr int64_t ceiling(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

// Blocks of one dimension of a grid, as the hardware counts them.
inline unsigned blocks_for(int64_t count, int64_t unit, int64_t most = INT32_MAX) {
  const int64_t blocks = ceiling(count, unit);
  if (blocks > most) {
    throw Error("program-invalid", "expected work for at most " + std::to_string(most) +
                                       " blocks of a GPU, found " + std::to_string(blocks) + ".");
  }
  return static_cast<unsigned>(blocks);
}

}  // namespace secateur::cuda
