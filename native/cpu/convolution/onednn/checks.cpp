#include "cpu/convolution/onednn/checks.h"

#include "error.h"

namespace secateur::onednn {

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

}  // namespace secateur::onednn
