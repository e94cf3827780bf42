#include "cpu/elementwise/passes.h"

namespace secateur {

const ElementKernels& element_kernels_avx512() { return kElementKernels; }

}  // namespace secateur
