#include "cpu/elementwise/passes.h"

namespace secateur {

const ElementKernels& element_kernels_generic() { return kElementKernels; }

}  // namespace secateur
