// For processors that round to bf16 themselves.
#pragma GCC target("avx512bf16")

#define SECATEUR_AVX512_BF16
#include "cpu/convolution/winograd/output.h"

namespace secateur::winograd {

OutputTransform* output_transform_avx512_bf16(bool result_bf16, bool added_bf16) {
  return output_transform_for(result_bf16, added_bf16);
}

}  // namespace secateur::winograd
