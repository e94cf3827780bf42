// The executor that is this machine's processors: host arenas, slices of the batch that fit a
// cache, a team of threads.
#pragma once

#include <memory>

#include "cpu/backend.h"
#include "session/executor.h"

namespace secateur {

// Programs it loads compute with `threads` threads; results do not depend on how many. Throws
// Error("option-invalid") for an impossible number, or an engine that this build lacks.
std::unique_ptr<Executor> make_cpu_executor(int threads, Engine engine);

}  // namespace secateur
