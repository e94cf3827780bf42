#include "cpu/convolution/onednn/plan.h"

#include <algorithm>

#include "cpu/convolution/onednn/runtime.h"
#include "cpu_features.h"
#include "program/precision.h"

namespace secateur::onednn {

int64_t Plan::input_elements() const {
  return direction == Direction::forward ? shape.in_elements() : shape.out_elements();
}

int64_t Plan::result_elements() const {
  return direction == Direction::forward ? shape.out_elements() : shape.in_elements();
}

dnnl::memory::data_type type_of(DType dtype) {
  return dtype == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

DType computed_type(const Shape& shape, Direction direction, DType stored, int64_t images) {
  if (stored != DType::bf16) return DType::f32;
  const CpuFeatures features = cpu_features();
  if (!features.amx_bf16 && !features.bf16_dot) return DType::f32;
  constexpr auto bf16 = dnnl::memory::data_type::bf16;
  const auto form = convolution_form(
      {.shape = shape, .direction = direction, .images = images, .type = bf16, .result = bf16});
  const bool fast = form && ((form->amx && features.amx_bf16) ||
                             (form->bf16_dot && features.bf16_dot));
  return fast ? DType::bf16 : DType::f32;
}

int64_t images_per_call(const Shape& shape, bool converts, int64_t slice) {
  if (!converts) return slice;
  constexpr int64_t kConvertedBytes = 512 << 10;
  const int64_t image = (shape.in_elements() + shape.out_elements()) * 4;
  return std::clamp<int64_t>(kConvertedBytes / image, 1, slice);
}

namespace {

// Portable code converts the pixels of a pointwise or depthwise convolution as it goes, and threads
// may share the outputs of a single one.
bool ours_is_faster(const Plan& plan) {
  const Shape& s = plan.shape;
  const bool pointwise = s.kernel_height * s.kernel_width == 1 && s.stride_height == 1 &&
                         s.stride_width == 1 && s.pad_top == 0 && s.pad_left == 0;
  if ((pointwise || s.depthwise()) && plan.computed != plan.stored) return true;
  return plan.images * s.out_height * s.out_width == 1;
}

}  // namespace

std::optional<Plan> make_plan(std::span<const int64_t> ints) {
  if (!available() || ints.size() != Shape::kInts + 3) return std::nullopt;
  const auto shape = Shape::parse(ints);
  const int64_t direction = ints[15], slice = ints[17];
  if (!shape || direction < 0 || direction > 1) return std::nullopt;
  if (slice < 1 || slice > 1 << 15) return std::nullopt;
  const bool bf16 = parse_precision(ints[16]) == Precision::bf16;
  Plan plan{*shape, direction == 0 ? Direction::forward : Direction::backward_data,
            bf16 ? DType::bf16 : DType::f32, DType::f32, slice, {}};
  plan.computed = computed_type(plan.shape, plan.direction, plan.stored, slice);
  if (ours_is_faster(plan)) return std::nullopt;
  plan.images = images_per_call(plan.shape, plan.computed != plan.stored, slice);
  Problem problem{.shape = plan.shape, .direction = plan.direction, .images = plan.images,
                  .type = type_of(plan.computed), .result = type_of(plan.computed)};
  const auto form = convolution_form(problem);
  if (!form) return std::nullopt;
  plan.packed = form->weights;
  if (plan.direction == Direction::backward_data) return plan;
  // The form was chosen for a bare convolution; it has to do for one with everything on it.
  problem.bias = problem.residual = problem.relu = true;
  problem.weights = plan.packed;
  if (!convolution_form(problem)) return std::nullopt;
  return plan;
}

}  // namespace secateur::onednn
