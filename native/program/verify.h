// Re-verification of a program when it loads: whatever compiled it, nothing it says may make
// native code read or write outside its arenas, or depend on the number of threads.
#pragma once

#include "program/program.h"

namespace secateur {

// Throws Error("program-invalid") naming layer, argument, what was expected and what was found.
// Shapes against operations are judged when kernels are made of them: check_shapes.h.
void verify(const Program& program);

}  // namespace secateur
