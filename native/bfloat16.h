// The bf16 storage type: the upper half of an f32, rounded to nearest even on the way in.
#pragma once

#include <bit>
#include <cstdint>

namespace secateur {

struct bfloat16 {
  uint16_t bits;
};

constexpr float to_float(float value) { return value; }

constexpr float to_float(bfloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

constexpr bfloat16 to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // Rounding could carry a NaN's payload into infinity or zero.
  if (value != value) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

}  // namespace secateur
