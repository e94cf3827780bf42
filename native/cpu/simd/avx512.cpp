#include "cpu/simd/kernels.h"

namespace secateur {

const VectorKernels& vector_kernels_avx512() { return kVectorKernels; }

}  // namespace secateur
