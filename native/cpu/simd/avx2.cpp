#include "cpu/simd/kernels.h"

namespace secateur {

const VectorKernels& vector_kernels_avx2() { return kVectorKernels; }

}  // namespace secateur
