// Packed weights applied, forward or to the gradient of outputs.
#pragma once

#include <memory>

#include "cpu/backend.h"
#include "cpu/convolution/onednn/plan.h"
#include "program/program.h"

namespace secateur::onednn {

// For convolution and convolution_backward_data.
std::unique_ptr<Kernel> apply_kernel(const Plan& plan, const Program& program,
                                     const Instruction& instruction, const Entry& entry);

}  // namespace secateur::onednn
