// What lanes of a warp do on tensor cores, in software; cuda/device/matrix.h says what each means.
#pragma once

#include <cstdint>

namespace secateur::emulator {

void load_matrices(uint32_t (&registers)[4], const void* row, bool transposed);
void add_product_bf16(float (&sums)[4], const uint32_t (&left)[4], const uint32_t* right);
void add_product_tf32(float (&sums)[4], const uint32_t (&left)[4], const uint32_t* right);
uint32_t to_tf32(float value);

}  // namespace secateur::emulator
