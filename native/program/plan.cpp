#include "program/plan.h"

namespace secateur {

namespace {

constexpr int64_t kMostPartialBytes = int64_t{1} << 46;
constexpr int kMostRefusalsTold = 5;

Argument argument(const Program& program, const Entry& entry, int32_t index) {
  if (index < 0) return {};
  const Value& value = program.values[index];
  const bool cut = value.images > 0 && value.images == entry.images;
  return {static_cast<int32_t>(value.arena), value.offset, cut ? value.image_bytes() : 0,
          value.images > 0};
}

std::vector<Argument> arguments(const Program& program, const Entry& entry,
                                const std::vector<int32_t>& indices) {
  std::vector<Argument> result;
  for (const int32_t index : indices) result.push_back(argument(program, entry, index));
  return result;
}

}  // namespace

PlacedInstruction::PlacedInstruction(const Program& program, const Entry& entry, int32_t at)
    : instruction(at), inputs(arguments(program, entry, program.instructions[at].inputs)),
      outputs(arguments(program, entry, program.instructions[at].outputs)),
      reduces(operations()[static_cast<size_t>(program.instructions[at].op)].kind ==
              Kind::reduction) {}

void Refusals::add(const Instruction& instruction, const Error& error) {
  ++count_;
  if (count_ > kMostRefusalsTold) return;
  if (count_ > 1) sentences_ += " ";
  const char* const operation = operations()[static_cast<size_t>(instruction.op)].name;
  sentences_ += "Layer '" + instruction.layer + "' (" + operation + "): " + error.what();
}

void Refusals::report() const {
  if (count_ == 0) return;
  const int more = count_ - kMostRefusalsTold;
  throw Error("program-invalid",
              sentences_ + (more > 0 ? " And " + std::to_string(more) + " more." : ""));
}

int64_t end_of_partials(int64_t bytes, int64_t stride, int64_t slices) {
  int64_t all = 0;
  if (__builtin_mul_overflow(stride, slices, &all) || all > kMostPartialBytes - bytes) {
    throw Error("program-invalid", "The partial sums of an entry's slices take more than 2^46 "
                                   "bytes; use larger slices.");
  }
  return bytes + all;
}

}  // namespace secateur
