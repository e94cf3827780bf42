// Activations other than relu, and their gradients.

#include "cpu/element_kernels.h"
#include "cpu/kernels.h"

namespace secateur {

namespace {

// Inputs are x, or dy and x.
class Activation final : public Kernel {
 public:
  Activation(ElementPass pass, int64_t elements, float alpha, float beta, bool backward)
      : pass_(pass), elements_(elements), alpha_(alpha), beta_(beta), backward_(backward) {}

  void run(const Slice& slice) const override {
    ElementSweep sweep{};
    sweep.elements = slice.images * elements_;
    sweep.x = slice.inputs[backward_ ? 1 : 0];
    sweep.second = backward_ ? slice.inputs[0] : nullptr;
    sweep.y = slice.outputs[0];
    sweep.alpha = alpha_;
    sweep.beta = beta_;
    pass_(sweep);
  }

 private:
  const ElementPass pass_;
  const int64_t elements_;
  const float alpha_, beta_;
  const bool backward_;
};

KernelPointer make(const Call& call, const ElementPass (&passes)[kActivationKinds][2],
                   bool backward) {
  call.require_integer(0, 0, kActivationKinds - 1);
  const Value& x = *call.input(0);
  if (backward) call.require_input(1, x.shape);
  call.require_output(0, x.shape);
  return std::make_unique<Activation>(passes[call.integer(0)][is_bf16(x) ? 1 : 0], x.elements(),
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
