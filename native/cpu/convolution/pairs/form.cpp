#include "cpu/convolution/pairs/form.h"

#include "cpu_features.h"
#include "program/shapes/pack_attributes.h"

namespace secateur::pairs {

namespace {

// With fewer outputs, vectors are mostly empty; with fewer values to each, there is little to multiply
// but much to convert.
constexpr int64_t kFewestOutputs = 8, kFewestValues = 16;

}  // namespace

bool is_served(const ConvolutionShape& s, bool backward) {
  if (s.groups != 1 || s.out_height * s.out_width == 1) return false;
  const int64_t outputs = backward ? s.in_channels : s.out_channels;
  const int64_t values = s.taps() * (backward ? s.out_channels : s.in_channels);
  return outputs >= kFewestOutputs && values >= kFewestValues;
}

std::optional<Form> Form::of(std::span<const int64_t> ints) {
  const auto attributes = PackAttributes::parse(ints);
  const Product product = product_for(attributes.precision);
  const ConvolutionShape& shape = attributes.shape;
  if (product == Product::none || !is_served(shape, attributes.backward)) return std::nullopt;
  Form form{shape, attributes.backward, product,
            attributes.backward ? Correlation::backward(shape) : Correlation::forward(shape), {}, {}};
  for (const Phase& phase : form.correlation.phases) {
    PairPhase& paired = form.phases.emplace_back(
        PairPhase{phase.rows, phase.columns, phase.y_row, phase.y_column, {}});
    for (const secateur::Run& run : phase.runs) {
      const int64_t pairs = (run.length + 1) / 2;
      paired.runs.push_back({run.source, form.pairs(), pairs});
      for (int64_t i = 0; i < 2 * pairs; ++i) {
        form.values.push_back(i < run.length ? run.row + i : -1);
      }
    }
  }
  return form;
}

int64_t Form::index(int64_t output, int64_t row) const {
  const int64_t inputs = backward ? shape.out_channels : shape.in_channels;
  const int64_t position = row / inputs, input = row % inputs;
  const int64_t tap = backward ? shape.taps() - 1 - position : position;
  const int64_t out = backward ? input : output, in = backward ? output : input;
  return (out * shape.in_channels + in) * shape.taps() + tap;
}

Product product_for(Precision precision) {
  const CpuFeatures features = cpu_features();
  if (precision != Precision::bf16 || features.amx_bf16) return Product::none;
  if (features.bf16_dot) return Product::bf16;
  return features.int16_dot ? Product::int16 : Product::none;
}

const Kernels& kernels_for(Product product) {
  if (product == Product::bf16) return bf16_kernels();
  return cpu_features().avx512_bf16 ? int16_bf16_kernels() : int16_kernels();
}

}  // namespace secateur::pairs
