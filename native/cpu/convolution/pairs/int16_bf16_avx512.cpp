// Dot products of int16, where the processor rounds to bf16 itself.
#pragma GCC target("avx512bf16")

#define SECATEUR_AVX512_BF16
#include "cpu/convolution/pairs/correlate.h"
#include "cpu/convolution/pairs/sweep.h"

namespace secateur::pairs {

const Kernels& int16_bf16_kernels() {
  static constexpr Kernels kKernels = {convolve<Int16>, largest, quantise, correlate<Int16>,
                                        interleave<Int16>};
  return kKernels;
}

}  // namespace secateur::pairs
