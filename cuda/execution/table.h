// From operation to kernel.
#pragma once

#include "execution/kernel.h"

namespace secateur::cuda {

// For a call that passed check_shapes(). Throws Error("program-invalid") where there is no such kernel,
// or it has further limits.
KernelPointer kernel_for(const Call& call);

}  // namespace secateur::cuda
