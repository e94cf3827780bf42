// convolution and convolution_backward_data.
#include "cpu/convolution/onednn/apply.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "cpu/convolution/onednn/plan.h"
#include "cpu/convolution/onednn/runtime.h"
#include "cpu/convolution/onednn/staging.h"
#include "cpu/parts.h"
#include "error.h"

namespace secateur::onednn {

namespace {

class Apply : public Kernel {
 public:
  Apply(const Plan& plan, const Program& program, const Instruction& instruction,
        const Entry& entry);

  int64_t scratch_bytes() const override { return scratch_bytes_; }
  int64_t parts() const override { return std::max<int64_t>(1, static_cast<int64_t>(bands_.size())); }

  void run(const Slice& slice) const override {
    stay_on_this_thread();
    for (int64_t at = 0; at < slice.images; at += plan_.images) {
      const int64_t images = std::min(plan_.images, slice.images - at);
      bands_.empty() ? run_images(slice, at, images) : run_bands(slice, at);
    }
  }

 private:
  struct Size {
    int64_t images;
    std::unique_ptr<Primitive> primitive;
  };

  // Some rows of one picture's outputs, and the inputs that they need.
  struct Band {
    Shape shape;
    std::shared_ptr<const Primitive> primitive;
    int64_t input, result;  // first elements within the picture
  };

  // What one call of a primitive reads and writes: first elements within the slice, and how many.
  struct Area {
    int64_t input, inputs, result, results;
    int64_t padded_results;  // of the primitive, where it does more
  };

  std::unique_ptr<Primitive> build(const Shape& shape, int64_t images) const;
  const Size& size_for(int64_t images) const;
  std::vector<Band> bands_of(int64_t count) const;
  void run_images(const Slice& slice, int64_t at, int64_t images) const;
  void run_bands(const Slice& slice, int64_t at) const;
  void run_call(const Slice& slice, const Primitive& primitive, const Area& area) const;

  const Plan plan_;
  const std::string layer_;
  const bool has_bias_, has_residual_, relu_;
  const DType input_type_, residual_type_, output_type_;
  DType result_type_;        // what the primitive writes
  std::vector<Size> sizes_;  // the first is the plan's
  std::vector<Band> bands_;  // none, or a picture's
  int64_t primitive_bytes_ = 0, input_bytes_ = 0, scratch_bytes_ = 0;
};

bool present(const std::vector<int32_t>& arguments, size_t at) {
  return arguments.size() > at && arguments[at] >= 0;
}

DType type_at(const Program& program, const std::vector<int32_t>& arguments, size_t at) {
  if (!present(arguments, at)) return DType::f32;
  return program.values[static_cast<size_t>(arguments[at])].dtype;
}

// In how many bands of rows a picture is convolved: as many as keep converted copies in L2, and a few
// for threads to share where there are few pictures.
int64_t band_count(const Plan& plan, const Entry& entry) {
  const Shape& s = plan.shape;
  if (plan.images != 1 || plan.direction != Direction::forward) return 1;
  constexpr int64_t kFewImages = 4, kTall = 28, kConvertedBytes = 512 << 10;
  const int64_t products = s.weight_elements() * s.out_height * s.out_width;
  int64_t count = 1;
  if (entry.images <= kFewImages) count = parts_for(s.out_height >= kTall ? 4 : 2, products);
  if (plan.computed != plan.stored) {
    count = std::max(count, (s.in_elements() + s.out_elements()) * 4 / kConvertedBytes);
  }
  return std::min(count, s.out_height);
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
  sizes_.push_back({plan.images, build(plan.shape, plan.images)});
  if (sizes_.front().primitive == nullptr && result_type_ != plan.computed) {
    result_type_ = plan.computed;  // converted afterwards instead
    sizes_.front().primitive = build(plan.shape, plan.images);
  }
  if (sizes_.front().primitive == nullptr) {
    throw Error("program-invalid", "oneDNN has no kernel for layer '" + layer_ + "'.");
  }
  for (const int64_t images : {entry.slice, entry.images % entry.slice}) {
    const int64_t rest = images % plan.images;
    if (rest == 0 || size_for(rest).images == rest) continue;
    if (auto primitive = build(plan.shape, rest)) sizes_.push_back({rest, std::move(primitive)});
  }
  bands_ = bands_of(band_count(plan, entry));
  for (const Band& band : bands_) {
    primitive_bytes_ = std::max(primitive_bytes_, aligned(band.primitive->scratch_bytes()));
  }
  for (const Size& size : sizes_) {
    primitive_bytes_ = std::max(primitive_bytes_, aligned(size.primitive->scratch_bytes()));
  }
  input_bytes_ = aligned(plan.images * plan.input_elements() * dtype_bytes(plan.computed));
  scratch_bytes_ = primitive_bytes_ + input_bytes_ +
                   aligned(plan.images * plan.result_elements() * dtype_bytes(result_type_));
}

std::unique_ptr<Primitive> Apply::build(const Shape& shape, int64_t images) const {
  return convolution({.shape = shape,
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

// None where some band has no kernel that reads the weights as they are packed.
std::vector<Apply::Band> Apply::bands_of(int64_t count) const {
  const Shape& s = plan_.shape;
  std::vector<Band> bands;
  if (count < 2) return bands;
  for (int64_t part = 0; part < count; ++part) {
    const int64_t first = s.out_height * part / count, last = s.out_height * (part + 1) / count;
    const int64_t start = first * s.stride_height - s.pad_top;
    const int64_t end =
        (last - 1) * s.stride_height + (s.kernel_height - 1) * s.dilation_height - s.pad_top + 1;
    const int64_t top = std::max<int64_t>(start, 0), bottom = std::min(end, s.in_height);
    if (top >= bottom || first == last) return {};
    Band band{s, nullptr, top * s.in_width * s.in_channels, first * s.out_width * s.out_channels};
    band.shape.in_height = bottom - top;
    band.shape.out_height = last - first;
    band.shape.pad_top = top - start;
    const auto same = std::ranges::find_if(bands, [&](const Band& other) {
      return other.shape.in_height == band.shape.in_height &&
             other.shape.out_height == band.shape.out_height &&
             other.shape.pad_top == band.shape.pad_top;
    });
    band.primitive = same != bands.end() ? same->primitive : build(band.shape, 1);
    if (band.primitive == nullptr) return {};
    bands.push_back(std::move(band));
  }
  return bands;
}

void Apply::run_images(const Slice& slice, int64_t at, int64_t images) const {
  const Size& size = size_for(images);
  run_call(slice, *size.primitive,
           {at * plan_.input_elements(), images * plan_.input_elements(),
            at * plan_.result_elements(), images * plan_.result_elements(),
            size.images * plan_.result_elements()});
}

void Apply::run_bands(const Slice& slice, int64_t at) const {
  const Range mine = part_of(static_cast<int64_t>(bands_.size()), 1, slice);
  for (int64_t i = mine.first; i < mine.last; ++i) {
    const Band& band = bands_[static_cast<size_t>(i)];
    run_call(slice, *band.primitive,
             {at * plan_.input_elements() + band.input, band.shape.in_elements(),
              at * plan_.result_elements() + band.result, band.shape.out_elements(),
              band.shape.out_elements()});
  }
}

void Apply::run_call(const Slice& slice, const Primitive& primitive, const Area& area) const {
  const auto& [first_input, inputs, first_result, results, padded_results] = area;
  const bool padded = padded_results != results;
  std::byte* const scratch = static_cast<std::byte*>(slice.scratch);
  const auto at = [](void* values, DType type, int64_t element) -> void* {
    return static_cast<std::byte*>(values) + element * dtype_bytes(type);
  };

  void* input = at(slice.inputs[0], input_type_, first_input);
  if (padded || input_type_ != plan_.computed) {
    std::byte* const copy = scratch + primitive_bytes_;
    convert(copy, plan_.computed, input, input_type_, inputs);
    const int64_t bytes = inputs * dtype_bytes(plan_.computed);
    if (padded) std::memset(copy + bytes, 0, static_cast<size_t>(input_bytes_ - bytes));
    input = copy;
  }
  void* const output = at(slice.outputs[0], output_type_, first_result);
  const bool converts = padded || output_type_ != result_type_;
  void* const result = converts ? scratch + primitive_bytes_ + input_bytes_ : output;
  if (has_residual_) {
    // The primitive adds to what it finds.
    const void* const residual = at(slice.inputs[3], residual_type_, first_result);
    convert(result, result_type_, residual, residual_type_, results);
    if (padded) {
      std::memset(static_cast<std::byte*>(result) + results * dtype_bytes(result_type_), 0,
                  static_cast<size_t>((padded_results - results) * dtype_bytes(result_type_)));
    }
  }
  std::array<void*, 5> addresses{input, slice.inputs[1], result};
  size_t count = 3;
  if (has_bias_) addresses[count++] = slice.inputs[2];
  addresses[count++] = scratch;
  primitive.run(std::span(addresses).first(count), layer_);
  if (converts) convert(output, output_type_, result, result_type_, results);
}

}  // namespace

std::unique_ptr<Kernel> apply_kernel(const Plan& plan, const Program& program,
                                     const Instruction& instruction, const Entry& entry) {
  const bool forward = instruction.op == Op::convolution;
  if (forward != (plan.direction == Direction::forward)) {
    throw Error("program-invalid", "Expected the weights of layer '" + instruction.layer +
                                       "' to be packed for its direction.");
  }
  return std::make_unique<Apply>(plan, program, instruction, entry);
}

}  // namespace secateur::onednn
