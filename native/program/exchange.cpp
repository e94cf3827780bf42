#include "program/exchange.h"

#include <algorithm>
#include <cstring>

#include "bfloat16.h"

namespace secateur {

int64_t exchange_bytes(const Value& value) {
  const int64_t elements = value.elements() * std::max<int64_t>(value.images, 1);
  return elements * (value.dtype == DType::bf16 ? 4 : dtype_bytes(value.dtype));
}

void take_in(const Value& value, std::span<const std::byte> from, std::byte* to) {
  if (value.dtype != DType::bf16) {
    std::memcpy(to, from.data(), from.size());
    return;
  }
  auto* const halves = reinterpret_cast<bfloat16*>(to);
  for (size_t i = 0; i < from.size() / 4; ++i) {
    float number;
    std::memcpy(&number, from.data() + i * 4, 4);
    halves[i] = to_bfloat16(number);
  }
}

void give_out(const Value& value, const std::byte* from, std::span<std::byte> to) {
  if (value.dtype != DType::bf16) {
    std::memcpy(to.data(), from, to.size());
    return;
  }
  const auto* const halves = reinterpret_cast<const bfloat16*>(from);
  for (size_t i = 0; i < to.size() / 4; ++i) {
    const float number = to_float(halves[i]);
    std::memcpy(to.data() + i * 4, &number, 4);
  }
}

}  // namespace secateur
