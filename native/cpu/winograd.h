// 3x3 convolutions of stride 1 by Winograd's minimal filtering, for bf16 programs on machines with
// AVX-512 and without AMX: a quarter of the products, in f32, whose error (about 1e-6 of the largest
// value) is far below bf16's own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend.h"
#include "program.h"

namespace secateur {

// A kernel for pack_convolution, convolution, convolution_backward_data or
// convolution_backward_weights; nullptr where it does not serve. What packs weights and what reads
// them follow from the same integers, so either both are served or neither. Throws
// Error("program-invalid") where the instruction's values do not fit its shape.
std::unique_ptr<Kernel> winograd_kernel(const Program& program, const Instruction& instruction,
                                        const Entry& entry);

// Bytes of the output of a pack_convolution with these integers; -1 where it is not served.
int64_t winograd_packed_bytes(std::span<const int64_t> ints);

}  // namespace secateur
