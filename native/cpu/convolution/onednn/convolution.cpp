#include "cpu/convolution/onednn/convolution.h"

#include <algorithm>
#include <string>

#include "cpu/convolution/onednn/apply.h"
#include "cpu/convolution/onednn/pack.h"
#include "cpu/convolution/onednn/plan.h"
#include "cpu/convolution/onednn/runtime.h"
#include "cpu/convolution/onednn/weights_gradient.h"
#include "error.h"

namespace secateur {

namespace onednn {

namespace {

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

}  // namespace onednn

std::unique_ptr<Kernel> onednn_kernel(const Call& call) {
  using namespace onednn;
  const auto& [program, instruction, entry] = call;
  if (!available()) return nullptr;
  switch (instruction.op) {
    case Op::pack_convolution: {
      const auto plan = make_plan(instruction.ints);
      if (!plan) return nullptr;
      call.require_output(0, {static_cast<int64_t>(plan->packed.get_size())});
      return pack_kernel(*plan, instruction);
    }
    case Op::convolution:
    case Op::convolution_backward_data: {
      const auto plan = make_plan(packed_by(program, instruction).ints);
      if (!plan) return nullptr;
      call.require_input(1, {static_cast<int64_t>(plan->packed.get_size())});
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
