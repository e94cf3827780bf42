// The CPU backend: a table from operation to kernel factory, with faster convolutions in front.

#include "cpu/backend.h"

#include <array>

#include "cpu/convolution/pack.h"
#include "cpu/convolution/pairs/convolution.h"
#include "cpu/convolution/winograd/forward.h"
#include "cpu/kernels.h"
#include "error.h"
#include "program/shapes/pack_attributes.h"

#ifdef SECATEUR_WITH_ONEDNN
#include "cpu/convolution/onednn/convolution.h"
#endif

namespace secateur {

namespace {

typedef KernelPointer (*Factory)(const Call&);

// Indexed by Op.
constexpr std::array<Factory, static_cast<size_t>(Op::count)> kFactories = {
#define OPERATION(name, kind, inputs, outputs, ints, floats) name##_kernel,
#include "operations.def"
#undef OPERATION
};

bool is_convolution(Op op) {
  return op == Op::pack_convolution || op == Op::convolution ||
         op == Op::convolution_backward_data || op == Op::convolution_backward_weights;
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(Engine engine) : engine_(engine) {}

  std::unique_ptr<Kernel> kernel(const Call& call) const override {
    const Op op = call.instruction.op;
    if (is_convolution(op)) {
      if (auto kernel = fast_convolution(call)) return kernel;
    }
    return kFactories[static_cast<size_t>(op)](call);
  }

  int64_t packed_bytes(std::span<const int64_t> ints) const override {
    PackAttributes::parse(ints);  // whoever serves it
    if (engine_ == Engine::automatic) {
      for (const int64_t bytes : {winograd_packed_bytes(ints), pair_packed_bytes(ints)}) {
        if (bytes >= 0) return bytes;
      }
    }
#ifdef SECATEUR_WITH_ONEDNN
    if (engine_ != Engine::portable) {
      const int64_t bytes = onednn_packed_bytes(ints);
      if (bytes >= 0) return bytes;
    }
#endif
    return portable_packed_bytes(ints);
  }

 private:
  // nullptr where the portable kernels are to serve. Packed weights and what reads them get the
  // same answer.
  KernelPointer fast_convolution(const Call& call) const {
    if (engine_ == Engine::automatic) {
      if (auto kernel = winograd_kernel(call)) return kernel;
      if (auto kernel = pair_kernel(call)) return kernel;
    }
#ifdef SECATEUR_WITH_ONEDNN
    if (engine_ != Engine::portable) return onednn_kernel(call);
#endif
    return nullptr;
  }

  const Engine engine_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(Engine engine) {
#ifndef SECATEUR_WITH_ONEDNN
  if (engine == Engine::onednn) {
    throw Error("option-invalid", "Expected an engine that this build has, found onednn; install "
                                  "libdnnl-dev and build again, or choose portable.");
  }
#endif
  return std::make_unique<CpuBackend>(engine);
}

}  // namespace secateur
