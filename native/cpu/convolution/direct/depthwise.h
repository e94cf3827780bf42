// Depthwise convolution and its transpose, which need no copy of the picture with zeros around it.
#pragma once

#include "cpu/convolution/shape.h"
#include "cpu/kernels.h"

namespace secateur {

// For shape.depthwise(). `backward`: gradients of y to gradients of x.
KernelPointer depthwise_kernel(const Call& call, const ConvolutionShape& shape, bool backward);

}  // namespace secateur
