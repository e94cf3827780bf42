// How fast a core multiplies with each of the instructions that convolutions may be made of.
#pragma once

namespace secateur {

// Multiply-accumulates a second of the core that was asked; 0 without the instruction.
struct ProductRates {
  double f32 = 0;   // AVX-512 FMA
  double bf16 = 0;  // AVX512_BF16's dot product
};

// Measured once in a process, in about a millisecond. Only the ratio means anything: it is a quarter
// (half the products) or 1 (twice the products) of FMA's rate on every processor known, so that any
// measurement of the same processor decides alike, whatever else the machine does.
const ProductRates& product_rates();

}  // namespace secateur
