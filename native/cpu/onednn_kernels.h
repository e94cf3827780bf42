// The kernels behind onednn_convolution.h.
#pragma once

#include <memory>

#include "backend.h"
#include "onednn_plan.h"
#include "program.h"

namespace secateur::onednn {

// Throws Error("program-invalid") unless value `index` has these elements per image or in whole.
void expect_elements(const Program& program, const Instruction& instruction, int32_t index,
                     int64_t elements, int64_t images);

std::unique_ptr<Kernel> pack_kernel(const Plan& plan, const Instruction& instruction);

// For convolution and convolution_backward_data.
std::unique_ptr<Kernel> apply_kernel(const Plan& plan, const Program& program,
                                     const Instruction& instruction, const Entry& entry);

// nullptr where oneDNN is not the one to serve.
std::unique_ptr<Kernel> weights_gradient_kernel(const Program& program,
                                                const Instruction& instruction,
                                                const Entry& entry);

// Runs a primitive; what oneDNN complains of names the layer.
void run_primitive(const Primitive& primitive, std::span<void* const> addresses,
                   const std::string& layer);

}  // namespace secateur::onednn
