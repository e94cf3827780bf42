// The form in which values cross into and out of a session: bf16 travels as f32, everything else as
// it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "program/program.h"

namespace secateur {

// Bytes of a whole value, all its images, outside.
int64_t exchange_bytes(const Value& value);

// Between that form and the value's own, which starts at `to` or `from`. f32 rounds to nearest even.
void take_in(const Value& value, std::span<const std::byte> from, std::byte* to);
void give_out(const Value& value, const std::byte* from, std::span<std::byte> to);

}  // namespace secateur
