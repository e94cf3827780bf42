// Pictures side by side along their channels.

#include <cstring>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/parts.h"

namespace secateur {

namespace {

class Concat final : public Kernel {
 public:
  // Bytes of a pixel of each input, in order; 0 where absent.
  Concat(std::vector<size_t> bytes, int64_t pixels)
      : bytes_(std::move(bytes)), pixels_(pixels) {
    for (const size_t each : bytes_) together_ += each;
  }

  int64_t parts() const override {
    return parts_of_pass(pixels_, pixels_ * static_cast<int64_t>(together_ / 4));
  }

  void run(const Slice& slice) const override {
    const Range pixels = part_of(slice.images * pixels_, 1, slice);
    const auto skipped = static_cast<size_t>(pixels.first);
    auto* first = static_cast<std::byte*>(slice.outputs[0]) + skipped * together_;
    for (size_t input = 0; input < bytes_.size(); ++input) {
      const size_t bytes = bytes_[input];
      if (bytes == 0) continue;
      const auto* from = static_cast<const std::byte*>(slice.inputs[input]) + skipped * bytes;
      std::byte* to = first;
      for (int64_t pixel = pixels.first; pixel < pixels.last; ++pixel) {
        std::memcpy(to, from, bytes);
        from += bytes;
        to += together_;
      }
      first += bytes;
    }
  }

 private:
  const std::vector<size_t> bytes_;
  const int64_t pixels_;
  size_t together_ = 0;
};

}  // namespace

KernelPointer concat_kernel(const Call& call) {
  const Extents out = call.output_extents(0);
  const size_t each = is_bf16(*call.output(0)) ? 2 : 4;
  std::vector<size_t> bytes;
  for (size_t input = 0; input < call.instruction.inputs.size(); ++input) {
    bytes.push_back(0);
    if (call.input(input) == nullptr) continue;
    bytes.back() = static_cast<size_t>(call.input_extents(input).channels) * each;
  }
  return std::make_unique<Concat>(std::move(bytes), out.pixels());
}

}  // namespace secateur
