#include "execution/plan.h"

#include <algorithm>
#include <string>

#include "error.h"
#include "execution/table.h"
#include "program/schedule.h"

namespace secateur::cuda {

namespace {

constexpr int64_t kMostPartialBytes = int64_t{1} << 46;

constexpr int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// What the kernels refused, told in one error once everything has been tried.
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

Step step(const Program& program, const Entry& entry, int32_t at) {
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
  result.kernel = kernel_for({program, instruction, entry});
  return result;
}

// Lays the partials of a segment's reductions one after another. Returns their bytes.
int64_t place_partials(PlannedSegment& segment, int64_t slices) {
  int64_t bytes = 0;
  for (Step& each : segment.steps) {
    if (!each.reduces) continue;
    each.partial_offset = bytes;
    each.partial_stride = aligned(each.kernel->partial_bytes());
    int64_t all = 0;
    if (__builtin_mul_overflow(each.partial_stride, slices, &all) ||
        all > kMostPartialBytes - bytes) {
      throw Error("program-invalid", "The partial sums of an entry's slices take more than 2^46 "
                                     "bytes; use larger slices.");
    }
    bytes += all;
  }
  return bytes;
}

bool uses_slice_arena(const Program& program, const Entry& entry) {
  const auto lives_there = [&](int32_t index) {
    return index >= 0 && program.values[index].arena == Arena::slice;
  };
  const auto first = program.instructions.begin() + entry.first;
  return std::any_of(first, first + entry.count, [&](const Instruction& instruction) {
    return std::ranges::any_of(instruction.outputs, lives_there);
  });
}

PlannedEntry plan_entry(const Program& program, const Entry& entry, Plan& plan,
                        Refusals& refusals) {
  // What kernels are built for: they see the slices that will be run.
  Entry run = entry;
  if (!uses_slice_arena(program, entry)) run.slice = std::max<int64_t>(entry.images, 1);
  PlannedEntry planned{entry.images, run.slice, {}};
  for (const Segment& segment : segments(program, entry)) {
    PlannedSegment steps{segment.sliced, {}};
    for (int32_t at = segment.first; at < segment.first + segment.count; ++at) {
      try {
        steps.steps.push_back(step(program, run, at));
        plan.scratch_bytes =
            std::max(plan.scratch_bytes, steps.steps.back().kernel->scratch_bytes());
      } catch (const Error& error) {
        refusals.add(program.instructions[at], error);
      }
    }
    plan.partial_bytes = std::max(plan.partial_bytes, place_partials(steps, planned.slices()));
    planned.segments.push_back(std::move(steps));
  }
  return planned;
}

}  // namespace

Plan plan(const Program& program) {
  Plan result;
  Refusals refusals;
  for (const Entry& entry : program.entries) {
    result.entries.push_back(plan_entry(program, entry, result, refusals));
  }
  refusals.report();
  return result;
}

}  // namespace secateur::cuda
