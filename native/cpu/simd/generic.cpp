#include "cpu/simd/kernels.h"

namespace secateur {

const VectorKernels& vector_kernels_generic() { return kVectorKernels; }

}  // namespace secateur
