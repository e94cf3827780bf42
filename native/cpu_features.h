// What this processor, and the operating system under it, let kernels use.
#pragma once

namespace secateur {

struct CpuFeatures {
  bool avx2 = false;         // with FMA
  bool avx512 = false;       // F, BW, VL, DQ
  bool avx512_bf16 = false;  // conversions
  bool avx512_vnni = false;
  bool bf16_dot = false;   // AVX512_BF16's dot product, where that multiplies faster than f32 FMA
  bool int16_dot = false;  // AVX512_VNNI's, where that does so by more than converting to int16 costs
  bool amx_bf16 = false;   // tiles, with the kernel's permission to use them
};

// What may be used: the hardware's features up to the environment variable SECATEUR_ISA (portable |
// avx2 | avx512 | avx512-vnni | avx512-bf16 | amx). Dot products are used where they were measured to
// be faster (see product_rates.h), but never under avx512, and the one that is named always. Ask when
// building kernels, not when running them. Throws Error("option-invalid") when the variable says
// anything else.
CpuFeatures cpu_features();

// The hardware's features, dot products left open.
const CpuFeatures& hardware_features();

// Denormals count as zero on this thread from here on, as on every thread that computes: they are
// slow, and results must not depend on which thread met them.
void flush_denormals();

}  // namespace secateur
