#include "cpu/elementwise/kernels.h"

#include "cpu_features.h"

namespace secateur {

const ElementKernels& element_kernels_avx512();
const ElementKernels& element_kernels_avx2();
const ElementKernels& element_kernels_generic();

const ElementKernels& element_kernels() {
  const CpuFeatures features = cpu_features();
  if (features.avx512) return element_kernels_avx512();
  if (features.avx2) return element_kernels_avx2();
  return element_kernels_generic();
}

}  // namespace secateur
