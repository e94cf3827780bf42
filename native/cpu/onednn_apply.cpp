// convolution and convolution_backward_data.
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "error.h"
#include "onednn_kernels.h"
#include "onednn_plan.h"
#include "onednn_runtime.h"
#include "onednn_staging.h"

namespace secateur::onednn {

namespace {

class Apply : public Kernel {
 public:
  Apply(const Plan& plan, const Program& program, const Instruction& instruction,
        const Entry& entry);

  int64_t scratch_bytes() const override { return scratch_bytes_; }

  void run(const Slice& slice) const override {
    stay_on_this_thread();
    for (int64_t at = 0; at < slice.images; at += plan_.images) {
      run_call(slice, at, std::min(plan_.images, slice.images - at));
    }
  }

 private:
  struct Size {
    int64_t images;
    std::unique_ptr<Primitive> primitive;
  };

  std::unique_ptr<Primitive> build(int64_t images) const;
  const Size& size_for(int64_t images) const;
  void run_call(const Slice& slice, int64_t at, int64_t images) const;

  const Plan plan_;
  const std::string layer_;
  const bool has_bias_, has_residual_, relu_;
  const DType input_type_, residual_type_, output_type_;
  DType result_type_;        // what the primitive writes
  std::vector<Size> sizes_;  // the first is the plan's
  int64_t primitive_bytes_ = 0, input_bytes_ = 0, scratch_bytes_ = 0;
};

bool present(const std::vector<int32_t>& arguments, size_t at) {
  return arguments.size() > at && arguments[at] >= 0;
}

DType type_at(const Program& program, const std::vector<int32_t>& arguments, size_t at) {
  if (!present(arguments, at)) return DType::f32;
  return program.values[static_cast<size_t>(arguments[at])].dtype;
}

Apply::Apply(const Plan& plan, const Program& program, const Instruction& instruction,
             const Entry& entry)
    : plan_(plan),
      layer_(instruction.layer),
      has_bias_(present(instruction.inputs, 2)),
      has_residual_(present(instruction.inputs, 3)),
      relu_(instruction.op == Op::convolution && instruction.ints[Shape::kInts] != 0),
      input_type_(type_at(program, instruction.inputs, 0)),
      residual_type_(type_at(program, instruction.inputs, 3)),
      output_type_(type_at(program, instruction.outputs, 0)),
      result_type_(output_type_ == DType::f32 ? DType::f32 : plan.computed) {
  sizes_.push_back({plan.images, build(plan.images)});
  if (sizes_.front().primitive == nullptr && result_type_ != plan.computed) {
    result_type_ = plan.computed;  // converted afterwards instead
    sizes_.front().primitive = build(plan.images);
  }
  if (sizes_.front().primitive == nullptr) {
    throw Error("program-invalid", "oneDNN has no kernel for layer '" + layer_ + "'.");
  }
  for (const int64_t images : {entry.slice, entry.images % entry.slice}) {
    const int64_t rest = images % plan.images;
    if (rest == 0 || size_for(rest).images == rest) continue;
    if (auto primitive = build(rest)) sizes_.push_back({rest, std::move(primitive)});
  }
  for (const Size& size : sizes_) {
    primitive_bytes_ = std::max(primitive_bytes_, aligned(size.primitive->scratch_bytes()));
  }
  input_bytes_ = aligned(plan.images * plan.input_elements() * dtype_bytes(plan.computed));
  scratch_bytes_ = primitive_bytes_ + input_bytes_ +
                   aligned(plan.images * plan.result_elements() * dtype_bytes(result_type_));
}

std::unique_ptr<Primitive> Apply::build(int64_t images) const {
  return convolution({.shape = plan_.shape,
                      .direction = plan_.direction,
                      .images = images,
                      .type = type_of(plan_.computed),
                      .result = type_of(result_type_),
                      .bias = has_bias_,
                      .residual = has_residual_,
                      .relu = relu_,
                      .weights = plan_.packed});
}

// The primitive for so many images, or else the plan's, which does more and is given copies.
const Apply::Size& Apply::size_for(int64_t images) const {
  const auto found = std::ranges::find(sizes_, images, &Size::images);
  return found != sizes_.end() ? *found : sizes_.front();
}

void Apply::run_call(const Slice& slice, int64_t at, int64_t images) const {
  const Size& size = size_for(images);
  const bool padded = size.images != images;
  const int64_t inputs = images * plan_.input_elements();
  const int64_t results = images * plan_.result_elements();
  std::byte* const scratch = static_cast<std::byte*>(slice.scratch);
  const auto image = [&](void* values, DType type, int64_t elements) -> void* {
    return static_cast<std::byte*>(values) + at * elements * dtype_bytes(type);
  };

  void* input = image(slice.inputs[0], input_type_, plan_.input_elements());
  if (padded || input_type_ != plan_.computed) {
    std::byte* const copy = scratch + primitive_bytes_;
    convert(copy, plan_.computed, input, input_type_, inputs);
    const int64_t bytes = inputs * dtype_bytes(plan_.computed);
    if (padded) std::memset(copy + bytes, 0, static_cast<size_t>(input_bytes_ - bytes));
    input = copy;
  }
  void* const output = image(slice.outputs[0], output_type_, plan_.result_elements());
  const bool converts = padded || output_type_ != result_type_;
  void* const result = converts ? scratch + primitive_bytes_ + input_bytes_ : output;
  if (has_residual_) {
    // The primitive adds to what it finds.
    const void* const residual = image(slice.inputs[3], residual_type_, plan_.result_elements());
    convert(result, result_type_, residual, residual_type_, results);
    if (padded) {
      const int64_t all = size.images * plan_.result_elements();
      std::memset(static_cast<std::byte*>(result) + results * dtype_bytes(result_type_), 0,
                  static_cast<size_t>((all - results) * dtype_bytes(result_type_)));
    }
  }
  std::array<void*, 5> addresses{input, slice.inputs[1], result};
  size_t count = 3;
  if (has_bias_) addresses[count++] = slice.inputs[2];
  addresses[count++] = scratch;
  run_primitive(*size.primitive, std::span(addresses).first(count), layer_);
  if (converts) convert(output, output_type_, result, result_type_, results);
}

}  // namespace

std::unique_ptr<Kernel> apply_kernel(const Plan& plan, const Program& program,
                                     const Instruction& instruction, const Entry& entry) {
  const auto expect = [&](const std::vector<int32_t>& arguments, size_t at, int64_t elements,
                          int64_t images) {
    if (!present(arguments, at)) return;
    expect_elements(program, instruction, arguments[at], elements, images);
  };
  const bool forward = instruction.op == Op::convolution;
  if (forward != (plan.direction == Direction::forward)) {
    throw Error("program-invalid", "Expected the weights of layer '" + instruction.layer +
                                       "' to be packed for its direction.");
  }
  expect(instruction.inputs, 0, plan.input_elements(), entry.images);
  expect(instruction.inputs, 1, static_cast<int64_t>(plan.packed.get_size()), 0);
  expect(instruction.outputs, 0, plan.result_elements(), entry.images);
  if (forward) {
    expect(instruction.inputs, 2, plan.shape.out_channels, 0);
    expect(instruction.inputs, 3, plan.result_elements(), entry.images);
  }
  return std::make_unique<Apply>(plan, program, instruction, entry);
}

}  // namespace secateur::onednn
