#include "cpu/convolution/packed.h"

#include <algorithm>

namespace secateur {

const Instruction* packed_by(const Call& call) {
  const auto& instructions = call.program.instructions;
  const auto found = std::ranges::find_if(instructions, [&](const Instruction& other) {
    return other.op == Op::pack_convolution && other.outputs[0] == call.instruction.inputs[1];
  });
  return found == instructions.end() ? nullptr : &*found;
}

}  // namespace secateur
