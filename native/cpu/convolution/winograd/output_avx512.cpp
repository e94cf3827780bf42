#include "cpu/convolution/winograd/output.h"

namespace secateur::winograd {

OutputTransform* output_transform_avx512(bool result_bf16, bool added_bf16) {
  return output_transform_for(result_bf16, added_bf16);
}

}  // namespace secateur::winograd
