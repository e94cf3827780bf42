#include "program/shapes/check_shapes.h"

#include <array>
#include <climits>

#include "program/shapes/convolution_shape.h"
#include "program/shapes/gather_shape.h"
#include "program/shapes/pack_attributes.h"
#include "program/shapes/window.h"

namespace secateur {

namespace {

using Shape = std::vector<int64_t>;

Shape shape_of(const Extents& extents) {
  return {extents.height, extents.width, extents.channels};
}

void require_inputs(const Call& call, size_t first, size_t last, const Shape& shape) {
  for (size_t i = first; i < last; ++i) call.require_input(i, shape);
}

void require_outputs(const Call& call, const Shape& shape) {
  for (size_t i = 0; i < call.instruction.outputs.size(); ++i) call.require_output(i, shape);
}

// All arguments have one shape.
void require_alike(const Call& call) {
  const Shape& shape = call.input(0)->shape;
  require_inputs(call, 1, call.instruction.inputs.size(), shape);
  require_outputs(call, shape);
}

// The gradient of a map from pixels to pixels also reads what went in or came out.
void require_pixel_map(const Call& call, bool backward) {
  call.input_extents(0);
  const Shape& shape = call.input(0)->shape;
  if (backward) call.require_input(1, shape);
  call.require_output(0, shape);
}

// dy and x, and sums over the pixels of each channel.
void require_channel_sums(const Call& call) {
  const Extents extents = call.input_extents(0);
  call.require_input(1, call.input(0)->shape);
  require_outputs(call, {extents.channels});
}

// One function an operation, by its name.
namespace shapes {

void fold_batch_norm(const Call& call) {
  const Value& weight = *call.input(0);
  if (weight.shape.empty()) call.refuse("expected weight '" + weight.name + "' to have outputs.");
  require_inputs(call, 1, 6, {weight.shape[0]});
  call.require_output(0, weight.shape);
  call.require_output(1, {weight.shape[0]});
}

void pack_convolution(const Call& call) {
  call.require_input(0, PackAttributes::parse(call.instruction.ints).shape.weight_shape());
}

void convolution(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  call.require_input(0, shape.picture());
  call.require_output(0, shape.result());
  call.require_input(2, {shape.out_channels});
  call.require_input(3, shape.result());
  call.require_integer(ConvolutionShape::kInts, 0, 1);
}

void convolution_backward_data(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  call.require_input(0, shape.result());
  call.require_output(0, shape.picture());
}

void convolution_backward_weights(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  call.require_integer(ConvolutionShape::kInts, 0, 2);
  call.require_input(0, shape.picture());
  call.require_input(1, shape.result());
  call.require_output(0, shape.weight_shape());
  call.require_output(1, {shape.out_channels});
}

void batch_norm_statistics(const Call& call) {
  const Extents extents = call.input_extents(0);
  call.require_input(1, {1});
  require_inputs(call, 2, 4, {extents.channels});
  require_outputs(call, {extents.channels});
}

void batch_norm_apply(const Call& call) {
  const Extents extents = call.input_extents(0);
  require_inputs(call, 1, 5, {extents.channels});
  call.require_input(5, shape_of(extents));
  call.require_output(0, shape_of(extents));
  call.require_integer(0, 0, 1);
}

void batch_norm_inference(const Call& call) { batch_norm_apply(call); }

void batch_norm_backward_reduce(const Call& call) {
  const Extents extents = call.input_extents(0);
  call.require_input(1, shape_of(extents));
  require_inputs(call, 2, 4, {extents.channels});
  call.require_input(4, shape_of(extents));
  require_outputs(call, {extents.channels});
}

void batch_norm_backward_apply(const Call& call) {
  const Extents extents = call.input_extents(0);
  call.require_input(1, shape_of(extents));
  require_inputs(call, 2, 7, {extents.channels});
  call.require_input(7, shape_of(extents));
  require_outputs(call, shape_of(extents));
}

void relu(const Call& call) { require_alike(call); }
void relu_backward(const Call& call) { require_alike(call); }
void cast(const Call& call) { require_alike(call); }

void add(const Call& call) {
  require_alike(call);
  call.require_integer(0, 0, 1);
}

void max_pool(const Call& call) {
  const Window window = Window::parse(call, true);
  call.require_input(0, window.picture());
  require_outputs(call, window.pooled());
}

void max_pool_backward(const Call& call) {
  const Window window = Window::parse(call, true);
  require_inputs(call, 0, 2, window.pooled());
  call.require_output(0, window.picture());
}

void average_pool(const Call& call) {
  const Window window = Window::parse(call, false);
  call.require_input(0, window.picture());
  call.require_output(0, window.pooled());
}

void average_pool_backward(const Call& call) {
  const Window window = Window::parse(call, false);
  call.require_input(0, window.pooled());
  call.require_output(0, window.picture());
}

void gather(const Call& call) {
  const GatherShape shape = GatherShape::parse(call);
  call.require_input(0, shape.picture());
  call.require_output(0, shape.gathered());
}

void gather_backward(const Call& call) {
  const GatherShape shape = GatherShape::parse(call);
  call.require_input(0, shape.gathered());
  call.require_output(0, shape.picture());
}

void softmax_cross_entropy(const Call& call) {
  const int64_t classes = call.input(0)->elements();
  call.require_input(1, {1});
  call.require_input(2, {classes});
  require_inputs(call, 3, 5, {1});
  if ((call.input(3) == nullptr) != (call.input(4) == nullptr)) {
    call.refuse("expected other_labels and label_shares both or neither.");
  }
  call.require_output(0, {1});
  call.require_output(1, {classes});
  const float temperature = call.real(2);
  if (!(temperature > 0)) {
    call.refuse("expected a temperature above 0, found " + std::to_string(temperature) + ".");
  }
}

void squared_error(const Call& call) {
  const Shape& shape = call.input(0)->shape;
  call.require_input(1, shape);
  call.require_input(2, {1});
  call.require_output(0, {1});
  call.require_output(1, shape);
}

void gate(const Call& call) {
  const Extents extents = call.input_extents(0);
  call.require_output(0, shape_of(extents));
  const Value& gates = *call.input(1);
  const int64_t rows = gates.elements() / extents.channels, images = call.entry.images;
  call.require_input(1, {rows, extents.channels});
  if (rows < 1 || images % rows != 0) {
    call.refuse("expected rows of gates '" + gates.name + "' that divide the entry's " +
                std::to_string(images) + " images, found " + std::to_string(rows) + ".");
  }
}

void rank(const Call& call) {
  constexpr int64_t kLargestSide = 4096;
  const Extents extents = call.input_extents(0);
  call.require_output(0, {extents.channels});
  if (extents.height > kLargestSide || extents.width > kLargestSide) {
    call.refuse("expected maps of at most " + std::to_string(kLargestSide) + " x " +
                std::to_string(kLargestSide) + ", found " + std::to_string(extents.height) + " x " +
                std::to_string(extents.width) + ".");
  }
}

void normal_equations(const Call& call) {
  constexpr int64_t kLargestUnknowns = 1 << 15;
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  call.require_input(0, shape.picture());
  call.require_input(1, shape.result());
  call.require_integer(ConvolutionShape::kInts, 0, 1);
  const int64_t unknowns = shape.group_in() * shape.taps() + 1;
  if (unknowns > kLargestUnknowns) {
    call.refuse("expected at most " + std::to_string(kLargestUnknowns) + " unknowns, found " +
                std::to_string(unknowns) + ".");
  }
  call.require_output(0, {shape.groups, unknowns, unknowns});
  call.require_output(1, {shape.groups, unknowns, shape.group_out()});
}

void sgd(const Call& call) {
  const Shape& shape = call.input(0)->shape;
  require_inputs(call, 1, 3, shape);
  call.require_input(3, {2});
  call.require_input(4, {1});
  require_outputs(call, shape);
}

void adamw(const Call& call) {
  const Shape& shape = call.input(0)->shape;
  require_inputs(call, 1, 4, shape);
  call.require_input(4, {5});
  call.require_input(5, {1});
  require_outputs(call, shape);
}

void activation(const Call& call) { require_alike(call); }
void activation_backward(const Call& call) { require_alike(call); }

void multiply(const Call& call) {
  const Extents extents = call.input_extents(0), factors = call.input_extents(1);
  call.require_output(0, shape_of(extents));
  if (factors.pixels() == 1 && extents.pixels() > 1) {
    call.require_input(1, {extents.channels});
  } else {
    call.require_input(1, shape_of(extents));
  }
}

void multiply_backward(const Call& call) {
  const Extents extents = call.input_extents(1);
  call.require_input(0, shape_of(extents));
  call.require_output(0, {extents.channels});
}

void concat(const Call& call) {
  const Extents out = call.output_extents(0);
  int64_t channels = 0;
  for (size_t input = 0; input < call.instruction.inputs.size(); ++input) {
    if (call.input(input) == nullptr) continue;
    const Extents extents = call.input_extents(input);
    call.require_input(input, {out.height, out.width, extents.channels});
    channels += extents.channels;
  }
  call.require_output(0, {out.height, out.width, channels});
}

void prelu(const Call& call) {
  require_pixel_map(call, false);
  call.require_input(1, {call.input_extents(0).channels});
}

void prelu_backward(const Call& call) {
  require_pixel_map(call, true);
  call.require_input(2, {call.input_extents(0).channels});
}

void prelu_backward_slope(const Call& call) { require_channel_sums(call); }

void require_resize(const Call& call, bool backward) {
  constexpr int64_t kMostTaps = 64;
  for (size_t i = 0; i < 5; ++i) call.require_integer(i, 1, INT32_MAX);
  call.require_integer(5, 1, kMostTaps);
  const int64_t channels = call.integer(2), taps = call.integer(5);
  const Shape picture{call.integer(0), call.integer(1), channels};
  const Shape resized{call.integer(3), call.integer(4), channels};
  call.require_input(0, backward ? resized : picture);
  call.require_output(0, backward ? picture : resized);
  require_inputs(call, 1, 3, {call.integer(3), taps});
  require_inputs(call, 3, 5, {call.integer(4), taps});
}

void resize(const Call& call) { require_resize(call, false); }
void resize_backward(const Call& call) { require_resize(call, true); }

void layer_norm(const Call& call) {
  require_pixel_map(call, false);
  require_inputs(call, 1, 3, {call.input_extents(0).channels});
}

void layer_norm_backward(const Call& call) {
  require_pixel_map(call, true);
  call.require_input(2, {call.input_extents(0).channels});
}

void layer_norm_backward_parameters(const Call& call) { require_channel_sums(call); }

void require_groups(const Call& call) {
  const int64_t channels = call.input_extents(0).channels;
  call.require_integer(0, 1, channels);
  if (channels % call.integer(0) != 0) {
    call.refuse("expected groups that divide " + std::to_string(channels) + " channels, found " +
                std::to_string(call.integer(0)) + ".");
  }
}

void group_norm(const Call& call) {
  layer_norm(call);
  require_groups(call);
}

void group_norm_backward(const Call& call) {
  layer_norm_backward(call);
  require_groups(call);
}

void group_norm_backward_parameters(const Call& call) {
  layer_norm_backward_parameters(call);
  require_groups(call);
}

void local_response_norm(const Call& call) {
  require_pixel_map(call, false);
  call.require_integer(0, 1, 1 << 20);
}

void local_response_norm_backward(const Call& call) {
  require_pixel_map(call, true);
  call.require_integer(0, 1, 1 << 20);
}

void softmax(const Call& call) { require_pixel_map(call, false); }
void softmax_backward(const Call& call) { require_pixel_map(call, true); }

void add_gradients(const Call& call) { require_alike(call); }

void sum_squares(const Call& call) {
  call.require_input(1, {1});
  call.require_output(0, {1});
}

void clip_scale(const Call& call) {
  const double norm = call.instruction.floats[0];
  call.require_input(0, {1});
  call.require_output(0, {1});
  if (!(norm > 0)) {
    call.refuse("expected a norm above 0, found " + std::to_string(norm) + ".");
  }
}

void average(const Call& call) {
  const Shape& shape = call.input(0)->shape;
  call.require_input(1, shape);
  call.require_input(2, {1});
  call.require_output(0, shape);
}

}  // namespace shapes

// Indexed by Op.
constexpr std::array<void (*)(const Call&), static_cast<size_t>(Op::count)> kChecks = {
#define OPERATION(name, kind, inputs, outputs, ints, floats) shapes::name,
#include "operations.def"
#undef OPERATION
};

}  // namespace

void check_shapes(const Call& call) {
  kChecks[static_cast<size_t>(call.instruction.op)](call);
}

}  // namespace secateur
