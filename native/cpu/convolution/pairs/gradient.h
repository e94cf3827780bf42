// convolution_backward_weights.
#pragma once

#include <memory>

#include "cpu/backend.h"
#include "program/call.h"

namespace secateur::pairs {

// nullptr where this method does not serve it.
std::unique_ptr<Kernel> weights_gradient(const Call& call);

}  // namespace secateur::pairs
