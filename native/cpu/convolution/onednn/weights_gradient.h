// Gradients of weights.
#pragma once

#include <memory>

#include "cpu/backend.h"
#include "program/program.h"

namespace secateur::onednn {

// nullptr where oneDNN is not the one to serve.
std::unique_ptr<Kernel> weights_gradient_kernel(const Program& program,
                                                const Instruction& instruction,
                                                const Entry& entry);

}  // namespace secateur::onednn
