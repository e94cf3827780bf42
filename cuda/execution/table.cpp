#include "execution/table.h"

#include <unordered_map>

#include "kernels.h"

namespace secateur::cuda {

namespace {

using Factory = KernelPointer (*)(const Call&);

const std::unordered_map<Op, Factory>& factories() {
#define KERNEL(name) {Op::name, name##_kernel}
  // Never destroyed: sessions may still run on other threads while the process exits.
  static const auto* const table = new std::unordered_map<Op, Factory>{
      KERNEL(pack_convolution),
      KERNEL(convolution),
      KERNEL(convolution_backward_data),
      KERNEL(convolution_backward_weights),
      KERNEL(batch_norm_statistics),
      KERNEL(batch_norm_backward_reduce),
      KERNEL(batch_norm_apply),
      KERNEL(batch_norm_backward_apply),
      KERNEL(batch_norm_inference),
      KERNEL(relu),
      KERNEL(relu_backward),
      KERNEL(add),
      KERNEL(cast),
      KERNEL(gate),
      KERNEL(max_pool),
      KERNEL(max_pool_backward),
      KERNEL(average_pool),
      KERNEL(average_pool_backward),
      KERNEL(gather),
      KERNEL(gather_backward),
      KERNEL(softmax_cross_entropy),
      KERNEL(squared_error),
      KERNEL(fold_batch_norm),
      KERNEL(sgd),
      KERNEL(adamw),
      KERNEL(add_gradients),
      KERNEL(average),
      KERNEL(sum_squares),
      KERNEL(clip_scale),
      KERNEL(activation),
      KERNEL(activation_backward),
      KERNEL(multiply),
      KERNEL(multiply_backward),
      KERNEL(prelu),
      KERNEL(prelu_backward),
      KERNEL(prelu_backward_slope),
      KERNEL(softmax),
      KERNEL(softmax_backward),
      KERNEL(concat),
      KERNEL(layer_norm),
      KERNEL(layer_norm_backward),
      KERNEL(layer_norm_backward_parameters),
      KERNEL(group_norm),
      KERNEL(group_norm_backward),
      KERNEL(group_norm_backward_parameters),
      KERNEL(local_response_norm),
      KERNEL(local_response_norm_backward),
      KERNEL(resize),
      KERNEL(resize_backward),
      KERNEL(rank),
      KERNEL(normal_equations),
  };
#undef KERNEL
  return *table;
}

}  // namespace

KernelPointer kernel_for(const Call& call) {
  const auto found = factories().find(call.instruction.op);
  if (found == factories().end()) call.refuse("has no kernel for GPUs yet; use the CPU.");
  return found->second(call);
}

}  // namespace secateur::cuda
