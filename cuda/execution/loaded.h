// A program loaded onto a GPU: arenas in its memory, one stream.
#pragma once

#include <array>
#include <functional>
#include <span>

#include "device/memory.h"
#include "execution/kernel.h"
#include "program/plan.h"
#include "program/program.h"

namespace secateur::cuda {

class DeviceProgram {
 public:
  // The program has been verified. Takes its memory, zeroed.
  DeviceProgram(Program program, int32_t device);

  size_t instructions() const { return program_.instructions.size(); }
  std::array<int64_t, 3> sizes() const;  // bytes of arenas, partial sums and scratch

  // Values by index, in the form of program/exchange.h. Throws Error("program-invalid") where there
  // is no such value, or it has another size.
  void write(int32_t value, std::span<const std::byte> from);
  void read(int32_t value, std::span<std::byte> to) const;

  // Throws Error("cancelled") soon after cancelled() holds, and what kernels report. Adds to
  // nanoseconds[instruction] unless that is empty; the work is then waited for step by step.
  void run(int32_t entry, const std::function<bool()>& cancelled, std::span<int64_t> nanoseconds);

 private:
  using Entry = Plan<Kernel>::Entry;
  using Segment = Plan<Kernel>::Segment;
  using Step = Plan<Kernel>::Step;
  struct Run;
  // Threads call into the runtime for one device at a time.
  void select() const;
  const Value& accessible(int32_t value, size_t bytes) const;
  std::byte* place(const Argument& argument, int64_t first_image) const;
  void run_segment(const Run& run, const Entry& entry, const Segment& segment);
  void run_step(const Entry& entry, const Step& step, int64_t slice);
  void combine(const Entry& entry, const Step& step);
  void raise_reports(const Entry& entry);

  const Program program_;
  const int32_t device_;
  const Plan<Kernel> plan_;
  Stream stream_;
  DeviceMemory arenas_[kArenas];
  DeviceMemory partials_, scratch_;
  DeviceMemory reports_;  // one for each instruction
  Event start_, stop_;
};

}  // namespace secateur::cuda
