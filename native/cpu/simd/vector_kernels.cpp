#include "cpu/simd/vector_kernels.h"

#include "cpu_features.h"

namespace secateur {

const VectorKernels& vector_kernels_avx512_bf16();
const VectorKernels& vector_kernels_avx512();
const VectorKernels& vector_kernels_avx2();
const VectorKernels& vector_kernels_generic();

const VectorKernels& vector_kernels() {
  const CpuFeatures features = cpu_features();
  if (features.avx512_bf16) return vector_kernels_avx512_bf16();
  if (features.avx512) return vector_kernels_avx512();
  if (features.avx2) return vector_kernels_avx2();
  return vector_kernels_generic();
}

}  // namespace secateur
