// What operations.def says about shapes and attributes, whichever executor is to run them.
#pragma once

#include "program/call.h"

namespace secateur {

// Throws Error("program-invalid") naming the argument, what was expected and what was found. Forms
// and limits of their own are for the kernels to check: packed weights, kinds of activation.
void check_shapes(const Call& call);

}  // namespace secateur
