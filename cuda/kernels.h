// The kernels of the CUDA executor: one factory an operation, one file a family, named as in
// native/cpu. Operations that are not listed have no kernel here yet.
#pragma once

#include "execution/kernel.h"

namespace secateur::cuda {

KernelPointer pack_convolution_kernel(const Call&);              // convolution/pack.cu
KernelPointer convolution_kernel(const Call&);                   // convolution/forward.cu
KernelPointer convolution_backward_data_kernel(const Call&);     // convolution/forward.cu
KernelPointer convolution_backward_weights_kernel(const Call&);  // convolution/gradient.cu
KernelPointer batch_norm_statistics_kernel(const Call&);         // normalisation/batch_norm_reduce.cu
KernelPointer batch_norm_backward_reduce_kernel(const Call&);    // normalisation/batch_norm_reduce.cu
KernelPointer batch_norm_apply_kernel(const Call&);              // normalisation/batch_norm.cu
KernelPointer batch_norm_backward_apply_kernel(const Call&);     // normalisation/batch_norm.cu
KernelPointer batch_norm_inference_kernel(const Call&);          // normalisation/batch_norm.cu
KernelPointer relu_kernel(const Call&);                          // elementwise/elementwise.cu
KernelPointer relu_backward_kernel(const Call&);                 // elementwise/elementwise.cu
KernelPointer add_kernel(const Call&);                           // elementwise/elementwise.cu
KernelPointer cast_kernel(const Call&);                          // elementwise/elementwise.cu
KernelPointer gate_kernel(const Call&);                          // elementwise/elementwise.cu
KernelPointer max_pool_kernel(const Call&);                      // pool/pool.cu
KernelPointer max_pool_backward_kernel(const Call&);             // pool/pool.cu
KernelPointer average_pool_kernel(const Call&);                  // pool/pool.cu
KernelPointer average_pool_backward_kernel(const Call&);         // pool/pool.cu
KernelPointer gather_kernel(const Call&);                        // channels/gather.cu
KernelPointer gather_backward_kernel(const Call&);               // channels/gather.cu
KernelPointer softmax_cross_entropy_kernel(const Call&);         // training/loss.cu
KernelPointer squared_error_kernel(const Call&);                 // training/squared_error.cu
KernelPointer fold_batch_norm_kernel(const Call&);               // training/update.cu
KernelPointer sgd_kernel(const Call&);                           // training/update.cu
KernelPointer adamw_kernel(const Call&);                         // training/update.cu
KernelPointer add_gradients_kernel(const Call&);                 // training/update.cu
KernelPointer average_kernel(const Call&);                       // training/update.cu
KernelPointer sum_squares_kernel(const Call&);                   // training/clip.cu
KernelPointer clip_scale_kernel(const Call&);                    // training/clip.cu
KernelPointer activation_kernel(const Call&);                    // elementwise/activation.cu
KernelPointer activation_backward_kernel(const Call&);           // elementwise/activation.cu
KernelPointer multiply_kernel(const Call&);                      // elementwise/multiply.cu
KernelPointer multiply_backward_kernel(const Call&);             // elementwise/multiply.cu
KernelPointer prelu_kernel(const Call&);                         // elementwise/prelu.cu
KernelPointer prelu_backward_kernel(const Call&);                // elementwise/prelu.cu
KernelPointer prelu_backward_slope_kernel(const Call&);          // elementwise/prelu.cu
KernelPointer softmax_kernel(const Call&);                       // elementwise/softmax.cu
KernelPointer softmax_backward_kernel(const Call&);              // elementwise/softmax.cu
KernelPointer concat_kernel(const Call&);                        // channels/concat.cu
KernelPointer layer_norm_kernel(const Call&);                    // normalisation/layer_norm.cu
KernelPointer layer_norm_backward_kernel(const Call&);           // normalisation/layer_norm.cu
KernelPointer layer_norm_backward_parameters_kernel(const Call&);  // normalisation/layer_norm.cu
KernelPointer group_norm_kernel(const Call&);                    // normalisation/group_norm.cu
KernelPointer group_norm_backward_kernel(const Call&);           // normalisation/group_norm.cu
KernelPointer group_norm_backward_parameters_kernel(const Call&);  // normalisation/group_norm.cu
KernelPointer local_response_norm_kernel(const Call&);   // normalisation/local_response_norm.cu
KernelPointer local_response_norm_backward_kernel(const Call&);  // normalisation/local_response_norm.cu
KernelPointer resize_kernel(const Call&);                        // pool/resize.cu
KernelPointer resize_backward_kernel(const Call&);               // pool/resize.cu
KernelPointer rank_kernel(const Call&);                          // statistics/rank.cu
KernelPointer normal_equations_kernel(const Call&);              // statistics/normal_equations.cu

}  // namespace secateur::cuda
