// Pictures side by side along their channels.

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace concat {

// One input's share of every pixel.
template <class T>
struct Copy {
  const T* from;
  T* to;
  int64_t channels, before, together;  // its own, those before it, all
  __device__ void operator()(int64_t i) const {
    to[i / channels * together + before + i % channels] = from[i];
  }
};

}  // namespace concat

KernelPointer concat_kernel(const Call& call) {
  const Extents out = call.output_extents(0);
  std::vector<int64_t> channels;  // of each input; 0 where absent
  for (size_t input = 0; input < call.instruction.inputs.size(); ++input) {
    channels.push_back(0);
    if (call.input(input) == nullptr) continue;
    channels.back() = call.input_extents(input).channels;
  }
  return with_number(is_bf16(*call.output(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      int64_t before = 0;
      for (size_t input = 0; input < channels.size(); ++input) {
        if (channels[input] == 0) continue;
        for_each(s.stream, s.images * out.pixels() * channels[input],
                 concat::Copy<T>{as<T>(s.inputs[input]), as<T>(s.outputs[0]), channels[input],
                                 before, out.channels});
        before += channels[input];
      }
    });
  });
}

}  // namespace secateur::cuda
