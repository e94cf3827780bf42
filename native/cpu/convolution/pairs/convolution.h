// Convolutions by dot products of pairs of 16-bit values, in front of oneDNN's and the portable ones.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "cpu/backend.h"
#include "program/call.h"

namespace secateur {

// nullptr where they do not serve the call. Packed weights and what reads them get the same answer.
std::unique_ptr<Kernel> pair_kernel(const Call& call);

// Bytes of the output of a pack_convolution with these ints, -1 where they do not serve it.
int64_t pair_packed_bytes(std::span<const int64_t> ints);

}  // namespace secateur
