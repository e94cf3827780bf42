// Zero padding, strided slices and channel maps in one, and its gradient.

#include "device/launch.h"
#include "device/number.h"
#include "error.h"
#include "kernels.h"
#include "program/shapes/gather_shape.h"

namespace secateur::cuda {

namespace gather {

template <class T>
struct Forward {
  GatherShape g;
  const T* x;
  const int32_t* map;
  T* y;

  __device__ void operator()(int64_t i) const {
    const int64_t channel = i % g.out_channels, pixel = i / g.out_channels;
    const int64_t column = pixel % g.out_width * g.stride_width + g.start_column;
    const int64_t row = pixel / g.out_width % g.out_height * g.stride_height + g.start_row;
    const int64_t image = pixel / g.out_width / g.out_height;
    const int32_t from = map[channel];
    const bool inside = row >= 0 && row < g.in_height && column >= 0 && column < g.in_width &&
                        from >= 0 && from < g.in_channels;
    const int64_t at = ((image * g.in_height + row) * g.in_width + column) * g.in_channels + from;
    y[i] = inside ? x[at] : T{};
  }
};

// A channel may be used more than once: its gradients add up in the order of the map.
template <class T>
struct Backward {
  GatherShape g;
  const T* dy;
  const int32_t* map;
  T* dx;

  __device__ void operator()(int64_t i) const {
    const int64_t channel = i % g.in_channels, pixel = i / g.in_channels;
    const int64_t column = pixel % g.in_width - g.start_column;
    const int64_t row = pixel / g.in_width % g.in_height - g.start_row;
    const int64_t image = pixel / g.in_width / g.in_height;
    float sum = 0;
    if (row >= 0 && column >= 0 && row % g.stride_height == 0 && column % g.stride_width == 0 &&
        row / g.stride_height < g.out_height && column / g.stride_width < g.out_width) {
      const int64_t at = (image * g.out_height + row / g.stride_height) * g.out_width +
                         column / g.stride_width;
      for (int64_t k = 0; k < g.out_channels; ++k) {
        if (map[k] == channel) sum += to_float(dy[at * g.out_channels + k]);
      }
    }
    dx[i] = stored<T>(sum);
  }
};

// Reports the first entry of the map that is no channel.
struct CheckMap {
  const int32_t* map;
  int64_t channels;
  unsigned long long* report;

  __device__ void operator()(int64_t k) const {
    if (map[k] >= -1 && map[k] < channels) return;
    atomicMin(report, static_cast<unsigned long long>(k) << 32 | static_cast<uint32_t>(map[k]));
  }
};

class Gather final : public Kernel {
 public:
  Gather(const GatherShape& shape, bool bf16, bool backward)
      : shape_(shape), bf16_(bf16), backward_(backward) {}

  void run(const Slice& s) const override {
    const auto* const map = as<int32_t>(s.inputs[1]);
    for_each(s.stream, shape_.out_channels, CheckMap{map, shape_.in_channels, s.report});
    with_number(bf16_, [&](auto number) {
      using T = decltype(number);
      if (backward_) {
        for_each(s.stream, s.images * shape_.in_elements(),
                 Backward<T>{shape_, as<T>(s.inputs[0]), map, as<T>(s.outputs[0])});
      } else {
        for_each(s.stream, s.images * shape_.out_elements(),
                 Forward<T>{shape_, as<T>(s.inputs[0]), map, as<T>(s.outputs[0])});
      }
    });
  }

  bool reports() const override { return true; }
  Error refusal(unsigned long long report) const override {
    return {"program-invalid", "Expected a channel map with entries from -1 to " +
                                   std::to_string(shape_.in_channels - 1) + ", found " +
                                   std::to_string(static_cast<int32_t>(report)) +
                                   " for channel " + std::to_string(report >> 32) + "."};
  }

 private:
  const GatherShape shape_;
  const bool bf16_, backward_;
};

}  // namespace gather

KernelPointer gather_kernel(const Call& call) {
  return std::make_unique<gather::Gather>(GatherShape::parse(call), is_bf16(*call.input(0)), false);
}

KernelPointer gather_backward_kernel(const Call& call) {
  return std::make_unique<gather::Gather>(GatherShape::parse(call), is_bf16(*call.input(0)), true);
}

}  // namespace secateur::cuda
