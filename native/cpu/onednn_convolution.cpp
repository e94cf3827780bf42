#include "onednn_convolution.h"

#include <algorithm>
#include <string>

#include "error.h"
#include "onednn_kernels.h"
#include "onednn_plan.h"
#include "onednn_runtime.h"
#include "onednn_staging.h"

namespace secateur {

namespace onednn {

void expect_elements(const Program& program, const Instruction& instruction, int32_t index,
                     int64_t elements, int64_t images) {
  const Value& value = program.values[static_cast<size_t>(index)];
  if (value.elements() == elements && value.images == images) return;
  throw Error("program-invalid",
              "Expected " + std::to_string(elements) + " elements (images " +
                  std::to_string(images) + ") in value '" + value.name + "' of layer '" +
                  instruction.layer + "', found " + std::to_string(value.elements()) +
                  " (images " + std::to_string(value.images) + ").");
}

void run_primitive(const Primitive& primitive, std::span<void* const> addresses,
                   const std::string& layer) {
  if (primitive.run(addresses)) return;
  throw Error("program-invalid", "oneDNN could not run layer '" + layer + "'.");
}

namespace {

class Pack : public Kernel {
 public:
  Pack(const Plan& plan, std::string layer, std::unique_ptr<Primitive> primitive)
      : layer_(std::move(layer)),
        elements_(plan.shape.weight_elements()),
        rounds_(plan.stored == DType::bf16 && plan.computed == DType::f32),
        primitive_(std::move(primitive)) {}

  int64_t scratch_bytes() const override {
    return primitive_bytes() + (rounds_ ? aligned(elements_ * 4) : 0);
  }

  void run(const Slice& slice) const override {
    stay_on_this_thread();
    void* weights = slice.inputs[0];
    if (rounds_) {
      // What was asked for are bf16 weights, whatever they are multiplied in.
      float* const rounded =
          reinterpret_cast<float*>(static_cast<std::byte*>(slice.scratch) + primitive_bytes());
      round_to_bf16(rounded, static_cast<const float*>(weights), elements_);
      weights = rounded;
    }
    void* const addresses[] = {weights, slice.outputs[0], slice.scratch};
    run_primitive(*primitive_, addresses, layer_);
  }

 private:
  int64_t primitive_bytes() const { return aligned(primitive_->scratch_bytes()); }

  const std::string layer_;
  const int64_t elements_;
  const bool rounds_;
  const std::unique_ptr<Primitive> primitive_;
};

// The pack_convolution whose output this instruction reads.
const Instruction& packed_by(const Program& program, const Instruction& instruction) {
  const int32_t packed = instruction.inputs[1];
  const auto found = std::ranges::find_if(program.instructions, [&](const Instruction& other) {
    return other.op == Op::pack_convolution && other.outputs[0] == packed;
  });
  if (found != program.instructions.end() &&
      std::equal(instruction.ints.begin(), instruction.ints.begin() + Shape::kInts,
                 found->ints.begin())) {
    return *found;
  }
  throw Error("program-invalid", "Expected the weights of layer '" + instruction.layer +
                                     "' to come from a pack_convolution of the same shape.");
}

}  // namespace

std::unique_ptr<Kernel> pack_kernel(const Plan& plan, const Instruction& instruction) {
  auto primitive = reorder(master_weights(plan.shape), plan.packed);
  if (primitive == nullptr) {
    throw Error("program-invalid",
                "oneDNN cannot pack the weights of layer '" + instruction.layer + "'.");
  }
  return std::make_unique<Pack>(plan, instruction.layer, std::move(primitive));
}

}  // namespace onednn

std::unique_ptr<Kernel> onednn_kernel(const Program& program, const Instruction& instruction,
                                      const Entry& entry) {
  using namespace onednn;
  if (!available()) return nullptr;
  switch (instruction.op) {
    case Op::pack_convolution: {
      const auto plan = make_plan(instruction.ints);
      if (!plan) return nullptr;
      expect_elements(program, instruction, instruction.inputs[0], plan->shape.weight_elements(),
                      0);
      expect_elements(program, instruction, instruction.outputs[0],
                      static_cast<int64_t>(plan->packed.get_size()), 0);
      return pack_kernel(*plan, instruction);
    }
    case Op::convolution:
    case Op::convolution_backward_data: {
      const auto plan = make_plan(packed_by(program, instruction).ints);
      if (!plan) return nullptr;
      return apply_kernel(*plan, program, instruction, entry);
    }
    case Op::convolution_backward_weights:
      return weights_gradient_kernel(program, instruction, entry);
    default:
      return nullptr;
  }
}

int64_t onednn_packed_bytes(std::span<const int64_t> ints) {
  const auto plan = onednn::make_plan(ints);
  return plan ? static_cast<int64_t>(plan->packed.get_size()) : -1;
}

}  // namespace secateur
