// 3x3 convolutions of stride 1 by Winograd's minimal filtering: a quarter of the products, in f32,
// with an error below 2e-5 of the largest value (measured with up to 128 channels: 1.2e-5, and
// 1.8e-6 for gradients of weights; root mean square 5e-7, four times that of direct convolution).
// With AVX-512 it serves programs that ask for the fastest method of such an error, and without AMX
// those of bf16.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "cpu/backend.h"

namespace secateur {

// A kernel for pack_convolution, convolution, convolution_backward_data or
// convolution_backward_weights; nullptr where it does not serve. What packs weights and what reads
// them follow from the same integers, so either both are served or neither. Throws
// Error("program-invalid") where the instruction's values do not fit its shape.
std::unique_ptr<Kernel> winograd_kernel(const Call& call);

// Bytes of the output of a pack_convolution with these integers; -1 where it is not served.
int64_t winograd_packed_bytes(std::span<const int64_t> ints);

}  // namespace secateur
