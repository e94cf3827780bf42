#include "cpu/convolution/onednn/pack.h"

#include <string>

#include "cpu/convolution/onednn/runtime.h"
#include "cpu/convolution/onednn/staging.h"
#include "error.h"

namespace secateur::onednn {

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
    primitive_->run(addresses, layer_);
  }

 private:
  int64_t primitive_bytes() const { return aligned(primitive_->scratch_bytes()); }

  const std::string layer_;
  const int64_t elements_;
  const bool rounds_;
  const std::unique_ptr<Primitive> primitive_;
};

}  // namespace

std::unique_ptr<Kernel> pack_kernel(const Plan& plan, const Instruction& instruction) {
  auto primitive = reorder(master_weights(plan.shape), plan.packed);
  if (primitive == nullptr) {
    throw Error("program-invalid",
                "oneDNN cannot pack the weights of layer '" + instruction.layer + "'.");
  }
  return std::make_unique<Pack>(plan, instruction.layer, std::move(primitive));
}

}  // namespace secateur::onednn
