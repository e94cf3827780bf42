// AVX-512 with the processor's own rounding to bf16, which takes a quarter of the instructions.
#pragma GCC target("avx512bf16")
// The pragma does not define __AVX512BF16__ in C++.
#define SECATEUR_AVX512_BF16

#include "cpu/simd/kernels.h"

namespace secateur {

const VectorKernels& vector_kernels_avx512_bf16() { return kVectorKernels; }

}  // namespace secateur
