// Activations other than relu, and their gradients.

#include "cpu/elementwise/kernels.h"
#include "cpu/kernels.h"
#include "cpu/parts.h"

namespace secateur {

namespace {

// Inputs are x, or dy and x.
class Activation final : public Kernel {
 public:
  Activation(ElementPass pass, int64_t elements, bool bf16, float alpha, float beta, bool backward)
      : pass_(pass), elements_(elements), bf16_(bf16), alpha_(alpha), beta_(beta),
        backward_(backward) {}

  int64_t parts() const override { return parts_of_pass(elements_ / kFlatUnit, elements_); }

  void run(const Slice& slice) const override {
    ElementSweep sweep{};
    const Range mine = part_of(slice.images * elements_, kFlatUnit, slice);
    sweep.elements = mine.count();
    sweep.x = element_at(slice.inputs[backward_ ? 1 : 0], bf16_, mine.first);
    if (backward_) sweep.second = element_at(slice.inputs[0], bf16_, mine.first);
    sweep.y = element_at(slice.outputs[0], bf16_, mine.first);
    sweep.alpha = alpha_;
    sweep.beta = beta_;
    pass_(sweep);
  }

 private:
  const ElementPass pass_;
  const int64_t elements_;
  const bool bf16_;
  const float alpha_, beta_;
  const bool backward_;
};

KernelPointer make(const Call& call, const ElementPass (&passes)[kActivationKinds][2],
                   bool backward) {
  call.require_integer(0, 0, kActivationKinds - 1);
  const Value& x = *call.input(0);
  const bool bf16 = is_bf16(x);
  return std::make_unique<Activation>(passes[call.integer(0)][bf16 ? 1 : 0], x.elements(), bf16,
                                      call.real(0), call.real(1), backward);
}

}  // namespace

KernelPointer activation_kernel(const Call& call) {
  return make(call, element_kernels().activation, false);
}

KernelPointer activation_backward_kernel(const Call& call) {
  return make(call, element_kernels().activation_backward, true);
}

}  // namespace secateur
