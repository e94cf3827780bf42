// pack_convolution.
#pragma once

#include <memory>

#include "cpu/backend.h"
#include "cpu/convolution/pairs/form.h"

namespace secateur::pairs {

std::unique_ptr<Kernel> pack_kernel(Form form);

}  // namespace secateur::pairs
