// The other way of program/decode.h.
#pragma once

#include <cstddef>
#include <vector>

#include "program/program.h"

namespace secateur {

std::vector<std::byte> encode(const Program& program);

}  // namespace secateur
