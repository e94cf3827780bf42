// From operation to kernel.
#pragma once

#include "execution/kernel.h"

namespace secateur::cuda {

// Throws Error("program-invalid") where shapes do not fit, or where there is no such kernel.
KernelPointer kernel_for(const Call& call);

}  // namespace secateur::cuda
