// Dot products of bf16.
#pragma GCC target("avx512bf16")

#define SECATEUR_AVX512_BF16
#include "cpu/convolution/pairs/correlate.h"
#include "cpu/convolution/pairs/sweep.h"

namespace secateur::pairs {

const Kernels& bf16_kernels() {
  static constexpr Kernels kKernels = {convolve<Bf16>, largest, quantise, correlate<Bf16>,
                                        interleave<Bf16>};
  return kKernels;
}

}  // namespace secateur::pairs
