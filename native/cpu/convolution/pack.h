// The portable kernels' own form of convolution weights.
#pragma once

#include <cstdint>
#include <span>

namespace secateur {

// Of pack_convolution's output for these ints. Throws Error("program-invalid").
int64_t portable_packed_bytes(std::span<const int64_t> ints);

}  // namespace secateur
