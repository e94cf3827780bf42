// What a program becomes when it loads, whatever executes it: for every entry, segments of kernels
// that know where their arguments are.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "program/call.h"
#include "program/shapes/check_shapes.h"
#include "program/program.h"
#include "program/schedule.h"

namespace secateur {

// operations.def has no operation with more; verify() holds programs to it.
constexpr size_t kMostArguments = 16;

// Where an argument lies: `offset` bytes into its arena and, for image values, image_bytes further
// for every image. In the slice arena images count from the slice's first.
struct Argument {
  int32_t arena = -1;  // -1: absent
  int64_t offset = 0;
  int64_t image_bytes = 0;  // 0: the same place for all slices
  bool of_images = false;
};

// An instruction without its kernel.
struct PlacedInstruction {
  PlacedInstruction(const Program& program, const Entry& entry, int32_t instruction);

  int32_t instruction;  // into Program::instructions
  std::vector<Argument> inputs, outputs;
  bool reduces;
  int64_t partial_offset = 0;  // of slice 0, where it reduces
  int64_t partial_stride = 0;  // between slices
};

// What is refused, told in one error once everything has been tried.
class Refusals {
 public:
  void add(const Instruction& instruction, const Error& error);
  // Throws Error("program-invalid") naming every instruction (the first few of many).
  void report() const;

 private:
  int count_ = 0;
  std::string sentences_;
};

// Where partial sums that follow the first `bytes` end. Throws Error("program-invalid") where no
// machine has as much memory.
int64_t end_of_partials(int64_t bytes, int64_t stride, int64_t slices);

// Kernel has scratch_bytes(), partial_bytes() and kAlignment, which scratch and partials begin at
// multiples of.
template <class Kernel>
struct Plan {
  struct Step : PlacedInstruction {
    using PlacedInstruction::PlacedInstruction;
    std::unique_ptr<Kernel> kernel;
  };

  struct Segment {
    bool sliced = false;  // see Segment in schedule.h
    std::vector<Step> steps;
    std::vector<size_t> reductions;  // indices into steps
  };

  struct Entry {
    int64_t images = 0, slice = 0;
    std::vector<Segment> segments;

    int64_t slices() const { return images == 0 ? 0 : (images + slice - 1) / slice; }
  };

  std::vector<Entry> entries;
  int64_t partial_bytes = 0;  // of the neediest segment
  int64_t scratch_bytes = 0;  // of the neediest kernel

  // `program` must have passed verify(). `kernel_for` makes the kernel of a Call that has passed
  // check_shapes(), or throws Error("program-invalid"); so does this, naming every instruction refused
  // (the first few of many).
  template <class KernelFor>
  Plan(const Program& program, const KernelFor& kernel_for) {
    Refusals refusals;
    for (const secateur::Entry& entry : program.entries) {
      Entry planned{entry.images, entry.slice, {}};
      for (const secateur::Segment& segment : segments(program, entry)) {
        planned.segments.push_back({segment.sliced, {}, {}});
        for (int32_t at = segment.first; at < segment.first + segment.count; ++at) {
          try {
            add(planned.segments.back(), program, entry, at, kernel_for);
          } catch (const Error& error) {
            refusals.add(program.instructions[at], error);
          }
        }
        place_partials(planned.segments.back(), planned.slices());
      }
      entries.push_back(std::move(planned));
    }
    refusals.report();
  }

 private:
  static int64_t aligned(int64_t bytes) {
    return (bytes + Kernel::kAlignment - 1) / Kernel::kAlignment * Kernel::kAlignment;
  }

  template <class KernelFor>
  void add(Segment& segment, const Program& program, const secateur::Entry& entry, int32_t at,
           const KernelFor& kernel_for) {
    const Call call{program, program.instructions[at], entry};
    check_shapes(call);
    Step step(program, entry, at);
    step.kernel = kernel_for(call);
    scratch_bytes = std::max(scratch_bytes, aligned(step.kernel->scratch_bytes()));
    if (step.reduces) segment.reductions.push_back(segment.steps.size());
    segment.steps.push_back(std::move(step));
  }

  // Lays the partials of a segment's reductions one after another.
  void place_partials(Segment& segment, int64_t slices) {
    int64_t bytes = 0;
    for (const size_t index : segment.reductions) {
      Step& reduction = segment.steps[index];
      reduction.partial_offset = bytes;
      reduction.partial_stride = aligned(reduction.kernel->partial_bytes());
      bytes = end_of_partials(bytes, reduction.partial_stride, slices);
    }
    partial_bytes = std::max(partial_bytes, bytes);
  }
};

}  // namespace secateur
