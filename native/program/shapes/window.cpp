#include "program/shapes/window.h"

#include <string>

namespace secateur {

namespace {

constexpr int64_t kLargestWindow = 1 << 20;

}  // namespace

Window Window::parse(const Call& call, bool maximum) {
  Window p{};
  for (size_t i = 0; i < 9; ++i) call.require_integer(i, 1, kLargestWindow);
  for (size_t i = 9; i < 11; ++i) call.require_integer(i, 0, kLargestWindow);
  p.in_height = call.integer(0);
  p.in_width = call.integer(1);
  p.channels = call.integer(2);
  p.out_height = call.integer(3);
  p.out_width = call.integer(4);
  p.kernel_height = call.integer(5);
  p.kernel_width = call.integer(6);
  p.stride_height = call.integer(7);
  p.stride_width = call.integer(8);
  p.pad_top = call.integer(9);
  p.pad_left = call.integer(10);
  if (!maximum) {
    call.require_integer(11, 0, 1);
    p.count_padding = call.integer(11) == 1;
  }
  if (p.kernel_height * p.kernel_width > kLargestWindow) {
    call.refuse("expected a window of at most " + std::to_string(kLargestWindow) + " cells, found " +
                std::to_string(p.kernel_height) + " x " + std::to_string(p.kernel_width) + ".");
  }
  // Every window must hold a cell of the picture, or its maximum would be minus infinity.
  const bool first = p.pad_top < p.kernel_height && p.pad_left < p.kernel_width;
  const bool last = (p.out_height - 1) * p.stride_height - p.pad_top < p.in_height &&
                    (p.out_width - 1) * p.stride_width - p.pad_left < p.in_width;
  if (!first || !last) {
    call.refuse("expected every window to reach into the picture, found padding or output sizes "
                "that leave some outside.");
  }
  return p;
}

}  // namespace secateur
