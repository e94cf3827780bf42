#include "cpu/execution/plan.h"

#include <algorithm>
#include <string>

#include "aligned_memory.h"
#include "error.h"
#include "program/schedule.h"

namespace secateur {

namespace {

constexpr int64_t kMostPartialBytes = int64_t{1} << 46;

// What the backend refused, told in one error once everything has been tried.
class Refusals {
 public:
  void add(const Instruction& instruction, const Error& error) {
    ++count_;
    if (count_ > kTold) return;
    if (count_ > 1) sentences_ += " ";
    const char* const operation = operations()[static_cast<size_t>(instruction.op)].name;
    sentences_ += "Layer '" + instruction.layer + "' (" + operation + "): " + error.what();
  }

  void report() const {
    if (count_ == 0) return;
    const std::string rest =
        count_ > kTold ? " And " + std::to_string(count_ - kTold) + " more." : "";
    throw Error("program-invalid", sentences_ + rest);
  }

 private:
  static constexpr int kTold = 5;
  int count_ = 0;
  std::string sentences_;
};

Argument argument(const Program& program, const Entry& entry, int32_t index) {
  if (index < 0) return {};
  const Value& value = program.values[index];
  const bool cut = value.images > 0 && value.images == entry.images;
  return {static_cast<int32_t>(value.arena), value.offset, cut ? value.image_bytes() : 0,
          value.images > 0};
}

Step step(const Program& program, const Entry& entry, int32_t at, const Backend& backend) {
  const Instruction& instruction = program.instructions[at];
  Step result;
  result.instruction = at;
  result.reduces = operations()[static_cast<size_t>(instruction.op)].kind == Kind::reduction;
  for (const int32_t index : instruction.inputs) {
    result.inputs.push_back(argument(program, entry, index));
  }
  for (const int32_t index : instruction.outputs) {
    result.outputs.push_back(argument(program, entry, index));
  }
  result.kernel = backend.kernel(program, instruction, entry);
  if (!result.kernel) throw Error("program-invalid", "no kernel.");
  return result;
}

// Lays the partials of a segment's reductions one after another. Returns their bytes.
int64_t place_partials(PlannedSegment& segment, const PlannedEntry& entry) {
  int64_t bytes = 0;
  for (const size_t index : segment.reductions) {
    Step& reduction = segment.steps[index];
    reduction.partial_offset = bytes;
    reduction.partial_stride = aligned(reduction.kernel->partial_bytes());
    int64_t all = 0;
    if (__builtin_mul_overflow(reduction.partial_stride, entry.slices(), &all) ||
        all > kMostPartialBytes - bytes) {
      throw Error("program-invalid", "The partial sums of an entry's slices take more than 2^46 "
                                     "bytes; use larger slices.");
    }
    bytes += all;
  }
  return bytes;
}

}  // namespace

Plan plan(const Program& program, const Backend& backend) {
  Plan result;
  Refusals refusals;
  for (const Entry& entry : program.entries) {
    PlannedEntry planned{entry.images, entry.slice, {}};
    for (const Segment& segment : segments(program, entry)) {
      PlannedSegment steps{segment.sliced, {}, {}};
      for (int32_t at = segment.first; at < segment.first + segment.count; ++at) {
        const Instruction& instruction = program.instructions[at];
        try {
          steps.steps.push_back(step(program, entry, at, backend));
        } catch (const Error& error) {
          refusals.add(instruction, error);
          continue;
        }
        if (steps.steps.back().reduces) steps.reductions.push_back(steps.steps.size() - 1);
        result.scratch_bytes =
            std::max(result.scratch_bytes, aligned(steps.steps.back().kernel->scratch_bytes()));
      }
      result.partial_bytes = std::max(result.partial_bytes, place_partials(steps, planned));
      planned.segments.push_back(std::move(steps));
    }
    result.entries.push_back(std::move(planned));
  }
  refusals.report();
  return result;
}

}  // namespace secateur
