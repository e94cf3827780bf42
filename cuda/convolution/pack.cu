#include "convolution/pack.h"

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"
#include "program/shapes/pack_attributes.h"

namespace secateur::cuda {

namespace pack {

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
  const auto attributes = PackAttributes::parse(ints);
  return PackedForm(attributes.shape, attributes.backward).bytes();
}

KernelPointer pack_convolution_kernel(const Call& call) {
  const auto attributes = PackAttributes::parse(call.instruction.ints);
  const PackedForm form(attributes.shape, attributes.backward);
  call.require_output(0, {form.bytes()});
  return simple_kernel([=](const Slice& slice) {
    for_each(slice.stream, form.elements(),
             pack::Pack{as<float>(slice.inputs[0]), as<float>(slice.outputs[0]), form.taps,
                        form.sources, form.results, attributes.shape.group_in(),
                        attributes.backward, attributes.precision == Precision::bf16});
  });
}

}  // namespace secateur::cuda
