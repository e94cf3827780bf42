// Copies between activations as the program stores them and as a primitive wants them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "program/program.h"

namespace secateur::onednn {

// Scratch is handed out in pieces of this alignment.
constexpr int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// `count` numbers, f32 or bf16 on either side; rounds to nearest even.
void convert(void* to, DType to_type, const void* from, DType from_type, int64_t count);

// to[i] += from[i].
void accumulate(float* to, const float* from, int64_t count);

// to[i] = from[i] rounded to bf16 and back.
void round_to_bf16(float* to, const float* from, int64_t count);

}  // namespace secateur::onednn
