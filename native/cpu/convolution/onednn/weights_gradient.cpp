// convolution_backward_weights.
#include "cpu/convolution/onednn/weights_gradient.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "cpu/convolution/onednn/plan.h"
#include "cpu/convolution/onednn/runtime.h"
#include "cpu/convolution/onednn/staging.h"
#include "error.h"

namespace secateur::onednn {

namespace {

// A partial holds dw in the primitive's own form, then db: cheaper to bring into order once, after
// adding, than slice by slice.
class WeightsGradient : public Kernel {
 public:
  struct Size {
    int64_t images;
    std::unique_ptr<Primitive> primitive;
  };

  struct Parts {
    Shape shape;
    std::string layer;
    DType x_type, dy_type, computed;
    bool has_bias;
    std::vector<Size> sizes;  // the first is the largest
    std::unique_ptr<Primitive> order;
  };

  explicit WeightsGradient(Parts parts);

  int64_t scratch_bytes() const override {
    return primitive_bytes_ + x_bytes_ + dy_bytes_ + partial_bytes();
  }
  int64_t partial_bytes() const override { return dw_bytes_ + db_bytes_; }
  void run(const Slice& slice) const override;
  void combine(const Partials& partials) const override;

 private:
  void run_call(const Slice& slice, int64_t at, int64_t images, std::byte* gradient) const;

  const Parts parts_;
  int64_t primitive_bytes_ = 0, x_bytes_ = 0, dy_bytes_ = 0, dw_bytes_ = 0, db_bytes_ = 0;
  // Of combine(), which runs once at a time.
  mutable std::vector<float> total_;
  mutable std::vector<std::byte> order_scratch_;
};

WeightsGradient::WeightsGradient(Parts parts) : parts_(std::move(parts)) {
  const Size& largest = parts_.sizes.front();
  for (const Size& size : parts_.sizes) {
    primitive_bytes_ = std::max(primitive_bytes_, aligned(size.primitive->scratch_bytes()));
  }
  const auto staged = [&](DType type, int64_t elements) {
    if (type == parts_.computed) return int64_t{0};
    return aligned(largest.images * elements * dtype_bytes(parts_.computed));
  };
  x_bytes_ = staged(parts_.x_type, parts_.shape.in_elements());
  dy_bytes_ = staged(parts_.dy_type, parts_.shape.out_elements());
  dw_bytes_ = aligned(static_cast<int64_t>(largest.primitive->weights().get_size()));
  db_bytes_ = parts_.has_bias ? aligned(parts_.shape.out_channels * 4) : 0;
  total_.resize(static_cast<size_t>(dw_bytes_ / 4));
  order_scratch_.resize(static_cast<size_t>(parts_.order->scratch_bytes()));
}

void WeightsGradient::run(const Slice& slice) const {
  stay_on_this_thread();
  std::byte* const partial = static_cast<std::byte*>(slice.partial);
  std::byte* const further =
      static_cast<std::byte*>(slice.scratch) + primitive_bytes_ + x_bytes_ + dy_bytes_;
  const int64_t most = parts_.sizes.front().images;
  for (int64_t at = 0; at < slice.images; at += most) {
    const int64_t images = std::min(most, slice.images - at);
    run_call(slice, at, images, at == 0 ? partial : further);
    if (at == 0) continue;
    accumulate(reinterpret_cast<float*>(partial), reinterpret_cast<const float*>(further),
               partial_bytes() / 4);
  }
}

void WeightsGradient::run_call(const Slice& slice, int64_t at, int64_t images,
                               std::byte* gradient) const {
  std::byte* const scratch = static_cast<std::byte*>(slice.scratch);
  const auto operand = [&](void* values, DType type, int64_t elements, std::byte* copy) -> void* {
    void* const from = static_cast<std::byte*>(values) + at * elements * dtype_bytes(type);
    if (type == parts_.computed) return from;
    convert(copy, parts_.computed, from, type, images * elements);
    return copy;
  };
  void* const x = operand(slice.inputs[0], parts_.x_type, parts_.shape.in_elements(),
                          scratch + primitive_bytes_);
  void* const dy = operand(slice.inputs[1], parts_.dy_type, parts_.shape.out_elements(),
                           scratch + primitive_bytes_ + x_bytes_);
  std::array<void*, 5> addresses{x, gradient, dy};
  size_t count = 3;
  if (parts_.has_bias) addresses[count++] = gradient + dw_bytes_;
  addresses[count++] = scratch;
  const auto size = std::ranges::find(parts_.sizes, images, &Size::images);
  if (size == parts_.sizes.end()) {
    throw Error("program-invalid", "Layer '" + parts_.layer + "' was not built for slices of " +
                                       std::to_string(images) + " images.");
  }
  size->primitive->run(std::span(addresses).first(count), parts_.layer);
}

void WeightsGradient::combine(const Partials& partials) const {
  stay_on_this_thread();
  const size_t dw_count = static_cast<size_t>(dw_bytes_ / 4);
  std::memcpy(total_.data(), partials.of<float>(0), dw_count * 4);
  for (int64_t slice = 1; slice < partials.slices; ++slice) {
    accumulate(total_.data(), partials.of<float>(slice), dw_bytes_ / 4);
  }
  void* const addresses[] = {total_.data(), partials.outputs[0], order_scratch_.data()};
  parts_.order->run(addresses, parts_.layer);
  if (!parts_.has_bias) return;
  float* const db = static_cast<float*>(partials.outputs[1]);
  const int64_t channels = parts_.shape.out_channels;
  std::memcpy(db, partials.of<float>(0) + dw_count, static_cast<size_t>(channels * 4));
  for (int64_t slice = 1; slice < partials.slices; ++slice) {
    accumulate(db, partials.of<float>(slice) + dw_count, channels);
  }
}

}  // namespace

std::unique_ptr<Kernel> weights_gradient_kernel(const Program& program,
                                                const Instruction& instruction,
                                                const Entry& entry) {
  const auto shape = Shape::parse(instruction.ints);
  if (!shape || entry.slice < 1) return nullptr;
  // oneDNN's takes a thousand times as long as the convolution for some filters of 5x5.
  if (shape->depthwise()) return nullptr;
  const bool has_bias = instruction.outputs.size() > 1 && instruction.outputs[1] >= 0;
  const DType x = program.values[static_cast<size_t>(instruction.inputs[0])].dtype;
  const DType dy = program.values[static_cast<size_t>(instruction.inputs[1])].dtype;
  const DType stored = x == dy ? x : DType::f32;  // nothing is rounded on the way
  const int64_t slice = std::min(entry.slice, entry.images);
  const DType computed = computed_type(*shape, Direction::backward_weights, stored, slice);
  const int64_t most = images_per_call(*shape, computed != x || computed != dy, slice);

  WeightsGradient::Parts parts{*shape, instruction.layer, x, dy, computed, has_bias, {}, nullptr};
  Problem problem{.shape = *shape, .direction = Direction::backward_weights, .images = most,
                  .type = type_of(computed), .result = type_of(computed), .bias = has_bias};
  for (const int64_t images : {most, slice % most, entry.images % slice % most}) {
    if (images == 0 || std::ranges::count(parts.sizes, images, &WeightsGradient::Size::images)) {
      continue;
    }
    problem.images = images;
    auto primitive = convolution(problem);
    if (primitive == nullptr) return nullptr;
    problem.weights = primitive->weights();
    parts.sizes.push_back({images, std::move(primitive)});
  }
  parts.order = reorder(*problem.weights, master_weights(*shape));
  if (parts.order == nullptr) return nullptr;
  return std::make_unique<WeightsGradient>(std::move(parts));
}

}  // namespace secateur::onednn
