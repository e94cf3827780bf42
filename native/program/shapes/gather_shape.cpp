#include "program/shapes/gather_shape.h"

namespace secateur {

GatherShape GatherShape::parse(const Call& call) {
  constexpr int64_t kLargest = 1 << 20;
  for (size_t i = 0; i < 6; ++i) call.require_integer(i, 1, INT32_MAX);
  for (size_t i = 6; i < 8; ++i) call.require_integer(i, -kLargest, kLargest);
  for (size_t i = 8; i < 10; ++i) call.require_integer(i, 1, kLargest);
  call.require_input(1, {call.integer(5)});
  return {call.integer(0), call.integer(1), call.integer(2), call.integer(3), call.integer(4),
          call.integer(5), call.integer(6), call.integer(7), call.integer(8), call.integer(9)};
}

}  // namespace secateur
