// Executors that live in a library of their own, opened at run time: this addon neither links nor
// needs CUDA.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "session/executor.h"

namespace secateur {

// The executor of device `device` in the library at `path`, which stays open from then on. Throws
// Error("addon-failed") that says why it cannot be used: no such file, another version, no device.
std::unique_ptr<Executor> open_plugin(const std::string& path, int32_t device);

// One line about that device, for people. Throws as open_plugin does.
std::string describe_plugin(const std::string& path, int32_t device);

}  // namespace secateur
