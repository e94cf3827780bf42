// The weights that a convolution reads, as they were packed for it.
#pragma once

#include "program/call.h"
#include "program/program.h"

namespace secateur {

// The pack_convolution whose output this convolution reads; nullptr where there is none.
const Instruction* packed_by(const Call& call);

}  // namespace secateur
