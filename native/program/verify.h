// Re-verification of a program when it loads: whatever compiled it, nothing it says may make
// native code read or write outside its arenas, or depend on the number of threads.
#pragma once

#include "program/program.h"

namespace secateur {

// Throws Error("program-invalid") naming layer, argument, what was expected and what was found.
// Shapes against operations are for the kernels to judge, which are built from them.
void verify(const Program& program);

}  // namespace secateur
