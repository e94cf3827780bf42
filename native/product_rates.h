// How fast a core multiplies with each of the instructions that convolutions may be made of.
#pragma once

namespace secateur {

// Multiply-accumulates a second of the core that was asked; 0 without the instruction.
struct ProductRates {
  double f32 = 0;    // AVX-512 FMA
  double bf16 = 0;   // AVX512_BF16's dot product
  double int16 = 0;  // AVX512_VNNI's
};

// Measured once in a process, in about a millisecond. Only ratios mean anything: a dot product has a
// quarter of FMA's rate (half the products) or all of it (twice the products) on every processor known,
// so that any measurement of the same processor decides alike, whatever else the machine does.
const ProductRates& product_rates();

}  // namespace secateur
