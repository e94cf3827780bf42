// Weights reordered to what the convolutions read.
#pragma once

#include <memory>

#include "cpu/backend.h"
#include "cpu/convolution/onednn/plan.h"
#include "program/program.h"

namespace secateur::onednn {

std::unique_ptr<Kernel> pack_kernel(const Plan& plan, const Instruction& instruction);

}  // namespace secateur::onednn
