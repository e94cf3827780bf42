#include "cpu/element_passes.h"

namespace secateur {

const ElementKernels& element_kernels_generic() { return kElementKernels; }

}  // namespace secateur
