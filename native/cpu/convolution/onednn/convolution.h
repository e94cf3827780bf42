// Convolutions by oneDNN (https://github.com/uxlfoundation/oneDNN).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "cpu/backend.h"

namespace secateur {

// A kernel for pack_convolution, convolution, convolution_backward_data or
// convolution_backward_weights; nullptr where oneDNN does not serve this shape or type well. What
// packs weights and what reads them follow from the same integers, so either both are served or
// neither. Throws Error("program-invalid") where the instruction's values do not fit its shape.
std::unique_ptr<Kernel> onednn_kernel(const Call& call);

// Bytes of the output of a pack_convolution with these integers; -1 where it is not served.
int64_t onednn_packed_bytes(std::span<const int64_t> ints);

}  // namespace secateur
