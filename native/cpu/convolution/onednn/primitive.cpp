#include "cpu/convolution/onednn/primitive.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "cpu/convolution/onednn/runtime.h"
#include "error.h"

namespace secateur::onednn {

namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

// Padding after the last row or column. Rows that no window reaches need none.
int64_t end_padding(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t dilation,
                    int64_t begin) {
  return std::max<int64_t>(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - in - begin);
}

// A problem in oneDNN's terms.
struct Descriptors {
  memory::desc in, weights, bias, out;
  memory::dims strides, dilations, padding_begin, padding_end;
  dnnl::primitive_attr attributes;

  explicit Descriptors(const Problem& problem) {
    const Shape& s = problem.shape;
    const bool forward = problem.direction == Direction::forward;
    const bool data = problem.direction == Direction::backward_data;
    const bool gradient = problem.direction == Direction::backward_weights;
    in = {{problem.images, s.in_channels, s.in_height, s.in_width},
          data ? problem.result : problem.type, Tag::nhwc};
    out = {{problem.images, s.out_channels, s.out_height, s.out_width},
           forward ? problem.result : problem.type, Tag::nhwc};
    weights = problem.weights ? *problem.weights
                              : memory::desc(weight_dims(s), gradient ? Type::f32 : problem.type,
                                             Tag::any);
    if (problem.bias) bias = {{s.out_channels}, Type::f32, Tag::a};
    strides = {s.stride_height, s.stride_width};
    dilations = {s.dilation_height - 1, s.dilation_width - 1};
    padding_begin = {s.pad_top, s.pad_left};
    padding_end = {end_padding(s.in_height, s.out_height, s.kernel_height, s.stride_height,
                               s.dilation_height, s.pad_top),
                   end_padding(s.in_width, s.out_width, s.kernel_width, s.stride_width,
                               s.dilation_width, s.pad_left)};
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    attributes.set_post_ops(post_operations(problem));
  }

  static memory::dims weight_dims(const Shape& s) {
    if (s.groups == 1) return {s.out_channels, s.in_channels, s.kernel_height, s.kernel_width};
    return {s.groups, s.out_channels / s.groups, s.in_channels / s.groups, s.kernel_height,
            s.kernel_width};
  }

  static dnnl::post_ops post_operations(const Problem& problem) {
    dnnl::post_ops operations;
    if (problem.residual) operations.append_sum(1.0f);
#if DNNL_VERSION_MAJOR >= 3
    if (problem.relu) operations.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#else
    if (problem.relu) operations.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
#endif
    return operations;
  }
};

#if DNNL_VERSION_MAJOR >= 3

dnnl::convolution_forward::primitive_desc forward(const Descriptors& d, bool plain) {
  return {engine(), dnnl::prop_kind::forward_training, kDirect, d.in, d.weights,
          plain ? memory::desc() : d.bias, d.out, d.strides, d.dilations, d.padding_begin,
          d.padding_end, plain ? dnnl::primitive_attr() : d.attributes};
}

dnnl::convolution_backward_data::primitive_desc backward_data(
    const Descriptors& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {engine(), kDirect, d.in, d.weights, d.out, d.strides, d.dilations, d.padding_begin,
          d.padding_end, hint, d.attributes};
}

dnnl::convolution_backward_weights::primitive_desc backward_weights(
    const Descriptors& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {engine(), kDirect, d.in, d.weights, d.bias, d.out, d.strides, d.dilations,
          d.padding_begin, d.padding_end, hint, d.attributes};
}

#else

dnnl::convolution_forward::primitive_desc forward(const Descriptors& d, bool plain) {
  const dnnl::convolution_forward::desc description(
      dnnl::prop_kind::forward_training, kDirect, d.in, d.weights,
      plain ? memory::desc() : d.bias, d.out, d.strides, d.dilations, d.padding_begin,
      d.padding_end);
  if (plain) return {description, engine()};
  return {description, d.attributes, engine()};
}

dnnl::convolution_backward_data::primitive_desc backward_data(
    const Descriptors& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {{kDirect, d.in, d.weights, d.out, d.strides, d.dilations, d.padding_begin,
           d.padding_end},
          d.attributes, engine(), hint};
}

dnnl::convolution_backward_weights::primitive_desc backward_weights(
    const Descriptors& d, const dnnl::convolution_forward::primitive_desc& hint) {
  return {{kDirect, d.in, d.weights, d.bias, d.out, d.strides, d.dilations, d.padding_begin,
           d.padding_end},
          d.attributes, engine(), hint};
}

#endif

// Backward primitives ask for a forward one; any that fits the shapes will do.
dnnl::convolution_forward::primitive_desc hint(const Problem& problem) {
  Problem ahead = problem;
  ahead.weights.reset();
  Descriptors d(ahead);
  if (problem.direction == Direction::backward_weights) {
    d.weights = memory::desc(Descriptors::weight_dims(problem.shape), problem.type, Tag::any);
  }
  return forward(d, true);
}

// What oneDNN would do, before it generates any code.
struct Choice {
  std::vector<Primitive::Argument> arguments;
  std::string implementation;
  std::function<dnnl::primitive()> build;
};

template <class Function, class Description>
std::optional<Choice> choice(const Description& description,
                             std::vector<Primitive::Argument> arguments) {
  Choice found{std::move(arguments), description.impl_info_str(),
               [description] { return Function(description); }};
  // Its reference code, its own unfolding into matrix products for NHWC, and its kernels for
  // vectors of four are all slower than portable code.
  for (const char* const slow : {"ref", "gemm", "sse41"}) {
    if (found.implementation.find(slow) != std::string::npos) return std::nullopt;
  }
  found.arguments.push_back({DNNL_ARG_SCRATCHPAD, description.scratchpad_desc()});
  return found;
}

std::optional<Choice> choose(const Problem& problem) {
  const Descriptors d(problem);
  switch (problem.direction) {
    case Direction::forward: {
      const auto description = forward(d, false);
      std::vector<Primitive::Argument> arguments = {
          {DNNL_ARG_SRC, d.in}, {DNNL_ARG_WEIGHTS, description.weights_desc()},
          {DNNL_ARG_DST, d.out}};
      if (problem.bias) arguments.push_back({DNNL_ARG_BIAS, d.bias});
      return choice<dnnl::convolution_forward>(description, std::move(arguments));
    }
    case Direction::backward_data: {
      const auto description = backward_data(d, hint(problem));
      return choice<dnnl::convolution_backward_data>(
          description, {{DNNL_ARG_DIFF_DST, d.out},
                        {DNNL_ARG_WEIGHTS, description.weights_desc()},
                        {DNNL_ARG_DIFF_SRC, d.in}});
    }
    case Direction::backward_weights: {
      const auto description = backward_weights(d, hint(problem));
      std::vector<Primitive::Argument> arguments = {
          {DNNL_ARG_SRC, d.in}, {DNNL_ARG_DIFF_WEIGHTS, description.diff_weights_desc()},
          {DNNL_ARG_DIFF_DST, d.out}};
      if (problem.bias) arguments.push_back({DNNL_ARG_DIFF_BIAS, d.bias});
      return choice<dnnl::convolution_backward_weights>(description, std::move(arguments));
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<Shape> Shape::parse(std::span<const int64_t> ints) {
  if (ints.size() < kInts) return std::nullopt;
  const Shape s{ints[0], ints[1], ints[2],  ints[3],  ints[4],  ints[5],  ints[6], ints[7],
                ints[8], ints[9], ints[10], ints[11], ints[12], ints[13], ints[14]};
  constexpr int64_t kLargest = 1 << 15;
  for (size_t i = 0; i < kInts; ++i) {
    const bool padding = i == 10 || i == 11;
    if (ints[i] < (padding ? 0 : 1) || ints[i] > kLargest) return std::nullopt;
  }
  if (s.in_channels % s.groups != 0 || s.out_channels % s.groups != 0) return std::nullopt;
  constexpr int64_t kMostElements = 1 << 30;
  if (s.in_elements() > kMostElements || s.out_elements() > kMostElements) return std::nullopt;
  if (s.in_channels / s.groups * s.kernel_height * s.kernel_width > kMostElements) {
    return std::nullopt;
  }
  if (s.weight_elements() > kMostElements) return std::nullopt;
  return s;
}

memory::desc master_weights(const Shape& shape) {
  const bool grouped = shape.groups > 1;
  return {Descriptors::weight_dims(shape), Type::f32, grouped ? Tag::goihw : Tag::oihw};
}

// A dnnl::error here means: unimplemented, or a shape that oneDNN does not take.

std::optional<Form> convolution_form(const Problem& problem) try {
  const OneThread guard;
  const auto chosen = choose(problem);
  if (!chosen) return std::nullopt;
  const auto uses = [&](const char* name) {
    return chosen->implementation.find(name) != std::string::npos;
  };
  return Form{chosen->arguments[1].form, uses("amx"), uses("avx512_core_bf16") && !uses("amx")};
} catch (const dnnl::error&) {
  return std::nullopt;
}

std::unique_ptr<Primitive> convolution(const Problem& problem) try {
  const OneThread guard;
  auto chosen = choose(problem);
  if (!chosen) return nullptr;
  return std::make_unique<Primitive>(chosen->build(), std::move(chosen->arguments));
} catch (const dnnl::error&) {
  return nullptr;
}

std::unique_ptr<Primitive> reorder(const memory::desc& from, const memory::desc& to) try {
  const OneThread guard;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc description(engine(), from, engine(), to, attributes);
  return std::make_unique<Primitive>(
      dnnl::reorder(description),
      std::vector<Primitive::Argument>{{DNNL_ARG_FROM, from},
                                       {DNNL_ARG_TO, to},
                                       {DNNL_ARG_SCRATCHPAD, description.scratchpad_desc()}});
} catch (const dnnl::error&) {
  return nullptr;
}

struct Primitive::Call {
  dnnl::stream stream{engine()};
  std::vector<memory> memories;
  std::vector<dnnl_exec_arg_t> arguments;
};

Primitive::Primitive(dnnl::primitive primitive, std::vector<Argument> arguments)
    : primitive_(std::move(primitive)), arguments_(std::move(arguments)) {
  give_back(take());  // so that memory runs out here rather than in run()
}

Primitive::~Primitive() {
  for (std::atomic<Call*>& place : idle_) delete place.load();
}

std::unique_ptr<Primitive::Call> Primitive::take() const {
  for (std::atomic<Call*>& place : idle_) {
    if (Call* const idle = place.exchange(nullptr)) return std::unique_ptr<Call>(idle);
  }
  auto call = std::make_unique<Call>();
  for (const Argument& argument : arguments_) {
    call->memories.emplace_back(argument.form, engine(), static_cast<void*>(DNNL_MEMORY_NONE));
    call->arguments.push_back({argument.name, call->memories.back().get()});
  }
  return call;
}

void Primitive::give_back(std::unique_ptr<Call> call) const {
  for (std::atomic<Call*>& place : idle_) {
    Call* nobody = nullptr;
    if (place.compare_exchange_strong(nobody, call.get())) {
      static_cast<void>(call.release());
      return;
    }
  }
}

void Primitive::run(std::span<void* const> addresses, const std::string& layer) const {
  std::unique_ptr<Call> call = take();
  dnnl_status_t status = dnnl_success;
  for (size_t i = 0; i < addresses.size() && status == dnnl_success; ++i) {
    status = dnnl_memory_set_data_handle(call->memories[i].get(), addresses[i]);
  }
  if (status == dnnl_success) {
    status = dnnl_primitive_execute(primitive_.get(), call->stream.get(),
                                    static_cast<int>(call->arguments.size()),
                                    call->arguments.data());
  }
  give_back(std::move(call));
  if (status == dnnl_success) return;
  throw Error("program-invalid", "oneDNN could not run layer '" + layer + "'.");
}

}  // namespace secateur::onednn
