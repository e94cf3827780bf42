#include "convolution/pack.h"

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"
#include "program/shapes/pack_attributes.h"

namespace secateur::cuda {

namespace pack {

// [out, in / groups, tap], and which way it is read.
struct Weights {
  const float* numbers;
  int64_t taps, outputs, inputs;  // channels of a group
  bool backward;

  __device__ float at(int64_t group, int64_t tap, int64_t source, int64_t result) const {
    const int64_t output = group * outputs + (backward ? source : result);
    const int64_t input = backward ? result : source;
    return numbers[(output * inputs + input) * taps + tap];
  }
};

// One number of the exact form.
struct PackExact {
  Weights weights;
  float* packed;
  int64_t taps, sources, results;
  bool bf16;  // rounded to it

  __device__ void operator()(int64_t i) const {
    const int64_t result = i % results, row = i / results;
    const int64_t source = row % sources, tap = row / sources % taps;
    const float value = weights.at(row / sources / taps, tap, source, result);
    packed[i] = bf16 ? to_float(to_bfloat16(value)) : value;
  }
};

// One number of a form for tensor cores.
template <class Number>
struct PackVectors {
  Weights weights;
  Number* packed;
  int64_t taps, sources, padded_sources, results;

  __device__ void operator()(int64_t i) const {
    const int64_t source = i % padded_sources, tap = i / padded_sources % taps;
    const int64_t result = i / padded_sources / taps % results;
    const int64_t group = i / padded_sources / taps / results;
    const float value = source < sources ? weights.at(group, tap, source, result) : 0;
    packed[i] = stored<Number>(value);
  }
};

void run(const Slice& slice, const PackedForm& form, Weights weights, bool bf16) {
  weights.numbers = as<float>(slice.inputs[0]);
  if (form.kind == PackedForm::Kind::exact) {
    for_each(slice.stream, form.elements(),
             PackExact{weights, as<float>(slice.outputs[0]), form.taps, form.sources, form.results,
                       bf16});
    return;
  }
  with_number(form.kind == PackedForm::Kind::bf16, [&](auto number) {
    using Number = decltype(number);
    for_each(slice.stream, form.elements(),
             PackVectors<Number>{weights, as<Number>(slice.outputs[0]), form.taps, form.sources,
                                 form.padded_sources(), form.results});
  });
}

}  // namespace pack

PackedForm PackedForm::of(const Call& call, const ConvolutionShape& shape, bool backward) {
  const std::vector<int64_t>& found = call.input(1)->shape;
  for (const Precision precision : {Precision::bf16, Precision::f32_fast}) {
    const PackedForm form = of(shape, backward, precision);
    if (found == std::vector{form.bytes()}) return form;
  }
  const PackedForm exact(shape, backward, Kind::exact);
  call.require_input(1, {exact.bytes()});
  return exact;
}

int64_t packed_bytes(std::span<const int64_t> ints) {
  const auto attributes = PackAttributes::parse(ints);
  return PackedForm::of(attributes.shape, attributes.backward, attributes.precision).bytes();
}

KernelPointer pack_convolution_kernel(const Call& call) {
  const auto attributes = PackAttributes::parse(call.instruction.ints);
  const auto& [shape, backward, precision] = attributes;
  const PackedForm form = PackedForm::of(shape, backward, precision);
  call.require_output(0, {form.bytes()});
  const pack::Weights weights{nullptr, form.taps, shape.group_out(), shape.group_in(), backward};
  const bool bf16 = precision == Precision::bf16;
  return simple_kernel([=](const Slice& slice) { pack::run(slice, form, weights, bf16); });
}

}  // namespace secateur::cuda
