// The kernels of the CPU backend: one factory an operation, one file a family.
#pragma once

#include <memory>

#include "cpu/backend.h"
#include "program/call.h"

namespace secateur {

using KernelPointer = std::unique_ptr<Kernel>;

KernelPointer fold_batch_norm_kernel(const Call&);               // update.cpp
KernelPointer pack_convolution_kernel(const Call&);              // pack_convolution.cpp
KernelPointer convolution_kernel(const Call&);                   // convolution.cpp
KernelPointer convolution_backward_data_kernel(const Call&);     // convolution.cpp
KernelPointer convolution_backward_weights_kernel(const Call&);  // convolution_gradient.cpp
KernelPointer batch_norm_statistics_kernel(const Call&);         // batch_norm_reduce.cpp
KernelPointer batch_norm_backward_reduce_kernel(const Call&);    // batch_norm_reduce.cpp
KernelPointer batch_norm_apply_kernel(const Call&);              // batch_norm.cpp
KernelPointer batch_norm_backward_apply_kernel(const Call&);     // batch_norm.cpp
KernelPointer batch_norm_inference_kernel(const Call&);          // batch_norm.cpp
KernelPointer relu_kernel(const Call&);                          // elementwise.cpp
KernelPointer relu_backward_kernel(const Call&);                 // elementwise.cpp
KernelPointer add_kernel(const Call&);                           // elementwise.cpp
KernelPointer cast_kernel(const Call&);                          // elementwise.cpp
KernelPointer gate_kernel(const Call&);                          // elementwise.cpp
KernelPointer max_pool_kernel(const Call&);                      // pool.cpp
KernelPointer max_pool_backward_kernel(const Call&);             // pool.cpp
KernelPointer average_pool_kernel(const Call&);                  // pool.cpp
KernelPointer average_pool_backward_kernel(const Call&);         // pool.cpp
KernelPointer gather_kernel(const Call&);                        // gather.cpp
KernelPointer gather_backward_kernel(const Call&);               // gather.cpp
KernelPointer softmax_cross_entropy_kernel(const Call&);         // loss.cpp
KernelPointer squared_error_kernel(const Call&);                 // squared_error.cpp
KernelPointer rank_kernel(const Call&);                          // rank.cpp
KernelPointer normal_equations_kernel(const Call&);              // normal_equations.cpp
KernelPointer sgd_kernel(const Call&);                           // update.cpp
KernelPointer adamw_kernel(const Call&);                         // update.cpp
KernelPointer activation_kernel(const Call&);                    // activation.cpp
KernelPointer activation_backward_kernel(const Call&);           // activation.cpp
KernelPointer multiply_kernel(const Call&);                      // multiply.cpp
KernelPointer multiply_backward_kernel(const Call&);             // multiply.cpp
KernelPointer concat_kernel(const Call&);                        // concat.cpp
KernelPointer prelu_kernel(const Call&);                         // prelu.cpp
KernelPointer prelu_backward_kernel(const Call&);                // prelu.cpp
KernelPointer prelu_backward_slope_kernel(const Call&);          // prelu.cpp
KernelPointer resize_kernel(const Call&);                        // resize.cpp
KernelPointer resize_backward_kernel(const Call&);               // resize.cpp
KernelPointer layer_norm_kernel(const Call&);                    // layer_norm.cpp
KernelPointer layer_norm_backward_kernel(const Call&);           // layer_norm.cpp
KernelPointer layer_norm_backward_parameters_kernel(const Call&);  // layer_norm.cpp
KernelPointer group_norm_kernel(const Call&);                    // group_norm.cpp
KernelPointer group_norm_backward_kernel(const Call&);           // group_norm.cpp
KernelPointer group_norm_backward_parameters_kernel(const Call&);  // group_norm.cpp
KernelPointer local_response_norm_kernel(const Call&);           // local_response_norm.cpp
KernelPointer local_response_norm_backward_kernel(const Call&);  // local_response_norm.cpp
KernelPointer softmax_kernel(const Call&);                       // softmax.cpp
KernelPointer softmax_backward_kernel(const Call&);              // softmax.cpp
KernelPointer add_gradients_kernel(const Call&);                 // update.cpp
KernelPointer sum_squares_kernel(const Call&);                   // clip.cpp
KernelPointer clip_scale_kernel(const Call&);                    // clip.cpp
KernelPointer average_kernel(const Call&);                       // update.cpp

}  // namespace secateur
