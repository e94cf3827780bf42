// Dot products of int16.
#include "cpu/convolution/pairs/correlate.h"
#include "cpu/convolution/pairs/sweep.h"

namespace secateur::pairs {

const Kernels& int16_kernels() {
  static constexpr Kernels kKernels = {convolve<Int16>, largest, quantise, correlate<Int16>,
                                        interleave<Int16>};
  return kKernels;
}

}  // namespace secateur::pairs
