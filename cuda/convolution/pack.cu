#include "convolution/pack.h"

#include <string>

#include "device/launch.h"
#include "device/number.h"
#include "error.h"
#include "kernels.h"

namespace secateur::cuda {

namespace pack {

struct Attributes {
  ConvolutionShape shape;
  bool backward, bf16;

  static Attributes parse(std::span<const int64_t> ints) {
    const size_t expected = operations()[static_cast<size_t>(Op::pack_convolution)].ints.size();
    if (ints.size() != expected) {
      throw Error("program-invalid", "Expected " + std::to_string(expected) +
                                         " numbers to describe packed weights, found " +
                                         std::to_string(ints.size()) + ".");
    }
    const auto shape = ConvolutionShape::parse(ints);
    const int64_t direction = ints[ConvolutionShape::kInts];
    const int64_t precision = ints[ConvolutionShape::kInts + 1];
    if (direction < 0 || direction > 1 || precision < 0 || precision > 2) {
      throw Error("program-invalid",
                  "Expected a direction of 0 or 1 and a precision from 0 to 2, found " +
                      std::to_string(direction) + " and " + std::to_string(precision) + ".");
    }
    return {shape, direction == 1, precision == 1};
  }
};

// One number of the packed form from [out, in / groups, tap].
struct Pack {
  const float* weight;
  float* packed;
  int64_t taps, sources, results, inputs;  // inputs of a group
  bool backward, bf16;

  __device__ void operator()(int64_t i) const {
    const int64_t result = i % results, row = i / results;
    const int64_t source = row % sources, tap = row / sources % taps;
    const int64_t group = row / sources / taps;
    const int64_t outputs = backward ? sources : results;
    const int64_t output = group * outputs + (backward ? source : result);
    const int64_t input = backward ? result : source;
    const float value = weight[(output * inputs + input) * taps + tap];
    packed[i] = bf16 ? to_float(to_bfloat16(value)) : value;
  }
};

}  // namespace pack

int64_t packed_bytes(std::span<const int64_t> ints) {
  const auto attributes = pack::Attributes::parse(ints);
  return PackedForm(attributes.shape, attributes.backward).bytes();
}

KernelPointer pack_convolution_kernel(const Call& call) {
  const auto attributes = pack::Attributes::parse(call.instruction.ints);
  const PackedForm form(attributes.shape, attributes.backward);
  call.require_output(0, {form.bytes()});
  return simple_kernel([=](const Slice& slice) {
    for_each(slice.stream, form.elements(),
             pack::Pack{as<float>(slice.inputs[0]), as<float>(slice.outputs[0]), form.taps,
                        form.sources, form.results, attributes.shape.group_in(),
                        attributes.backward, attributes.bf16});
  });
}

}  // namespace secateur::cuda
