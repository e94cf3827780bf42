#include "cpu/execution/loaded.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string>

#include "cpu_features.h"
#include "error.h"
#include "program/exchange.h"

namespace secateur {

namespace {

// Below this, waking the team costs more than combining alone.
constexpr int64_t kCombineTogether = 256 << 10;
// A program that was run as often will be run for long enough to pay for huge pages.
constexpr int64_t kRunsBeforeHugePages = 8;

class Stopwatch {
 public:
  int64_t nanoseconds() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now() - start_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

// One run of an entry. Profiled times are per thread and instruction: threads never share one.
struct CpuProgram::Run {
  const Plan<Kernel>::Entry& entry;
  const std::atomic<bool>& cancelled;
  std::span<int64_t> times;  // [thread][instruction], empty when not profiled
  size_t instructions;

  void stop_if_cancelled() const {
    if (cancelled.load(std::memory_order_relaxed)) {
      throw Error("cancelled", "The run was cancelled.");
    }
  }

  template <class Work>
  void timed(const Step& step, int thread, const Work& work) const {
    if (times.empty()) return work();
    const Stopwatch stopwatch;
    work();
    times[static_cast<size_t>(thread) * instructions + step.instruction] += stopwatch.nanoseconds();
  }
};

CpuProgram::CpuProgram(const Program& program, int threads, const Backend& backend)
    : program_(program), plan_(program, [&](const Call& call) { return backend.kernel(call); }),
      team_(threads) {
  constexpr auto kSlice = static_cast<size_t>(Arena::slice);
  slice_stride_ = aligned(program_.arena_bytes[kSlice]);
  int64_t bytes[kArenas];
  std::copy_n(program_.arena_bytes, kArenas, bytes);
  bytes[kSlice] = slice_stride_ * threads;
  const int64_t scratch = plan_.scratch_bytes * threads;
  int64_t all = plan_.partial_bytes + scratch;
  for (const int64_t each : bytes) all += each;
  if (all > machine_memory()) {
    throw Error("addon-failed", "The program needs " + std::to_string(all >> 20) +
                                    " MiB of memory, but this machine has " +
                                    std::to_string(machine_memory() >> 20) +
                                    " MiB; use a smaller batch.");
  }
  for (size_t i = 0; i < kArenas; ++i) arenas_[i] = Memory(bytes[i], arena_name(static_cast<Arena>(i)));
  partials_ = Memory(plan_.partial_bytes, "partial sums");
  scratch_ = Memory(scratch, "scratch");
}

MemorySizes CpuProgram::sizes() const {
  int64_t arenas = 0;
  for (const Memory& memory : arenas_) arenas += memory.bytes();
  return {arenas, partials_.bytes(), scratch_.bytes()};
}

std::byte* CpuProgram::start_of(const Value& value) const {
  return arenas_[static_cast<size_t>(value.arena)].data() + value.offset;
}

void CpuProgram::write(int32_t index, std::span<const std::byte> from) {
  const Value& value = program_.values[index];
  take_in(value, from, start_of(value));
}

void CpuProgram::read(int32_t index, std::span<std::byte> to) const {
  const Value& value = program_.values[index];
  give_out(value, start_of(value), to);
}

void CpuProgram::run(int32_t index, const std::atomic<bool>& cancelled,
                     std::span<int64_t> nanoseconds) {
  if (runs_++ == kRunsBeforeHugePages) settle();
  flush_denormals();
  const size_t instructions = program_.instructions.size();
  std::vector<int64_t> times(nanoseconds.empty() ? 0 : instructions * team_.threads());
  const Run run{plan_.entries[index], cancelled, times, instructions};
  for (const Segment& segment : run.entry.segments) {
    run.stop_if_cancelled();
    if (segment.sliced) {
      run_sliced(run, segment);
    } else {
      run_whole(run, segment);
    }
  }
  for (size_t i = 0; i < times.size(); ++i) nanoseconds[i % instructions] += times[i];
}

void CpuProgram::settle() {
  for (const Memory& memory : arenas_) memory.use_huge_pages();
  partials_.use_huge_pages();
  scratch_.use_huge_pages();
}

void CpuProgram::run_whole(const Run& run, const Segment& segment) {
  team_.run(static_cast<int64_t>(segment.steps.size()), [&](int64_t piece, int thread) {
    run_step(run, segment.steps[static_cast<size_t>(piece)], {.thread = thread, .owner = thread});
  });
}

void CpuProgram::run_sliced(const Run& run, const Segment& segment) {
  if (run.entry.slices() < team_.threads()) {
    run_parts(run, segment);
  } else {
    team_.run(run.entry.slices(), [&](int64_t slice, int thread) {
      run.stop_if_cancelled();
      for (const Step& step : segment.steps) {
        run_step(run, step, {.slice = slice, .thread = thread, .owner = thread});
      }
    });
  }
  int64_t bytes = 0;
  for (const size_t index : segment.reductions) {
    bytes += segment.steps[index].partial_stride * run.entry.slices();
  }
  if (bytes < kCombineTogether) {
    for (const size_t index : segment.reductions) combine(run, segment.steps[index], 0);
    return;
  }
  team_.run(static_cast<int64_t>(segment.reductions.size()), [&](int64_t piece, int thread) {
    combine(run, segment.steps[segment.reductions[static_cast<size_t>(piece)]], thread);
  });
}

// Too few slices for all threads: they share the work of each instruction that divides, one
// instruction at a time.
void CpuProgram::run_parts(const Run& run, const Segment& segment) {
  const int64_t slices = run.entry.slices();
  const std::vector<Step>& steps = segment.steps;
  for (size_t first = 0, last; first < steps.size(); first = last) {
    run.stop_if_cancelled();
    const int64_t parts = steps[first].kernel->parts();
    last = first + 1;
    // What does not divide goes on without waiting for other slices.
    while (parts == 1 && last < steps.size() && steps[last].kernel->parts() == 1) ++last;
    team_.run(slices * parts, [&](int64_t piece, int thread) {
      const int64_t slice = piece / parts;
      for (size_t at = first; at < last; ++at) {
        run_step(run, steps[at],
                 {.slice = slice, .part = piece % parts, .parts = parts, .thread = thread,
                  .owner = static_cast<int>(slice)});
      }
    });
  }
}

std::byte* CpuProgram::place(const Argument& argument, int64_t first_image, int owner) const {
  if (argument.arena < 0) return nullptr;
  std::byte* const base = arenas_[argument.arena].data() + argument.offset;
  if (argument.arena == static_cast<int32_t>(Arena::slice)) return base + slice_stride_ * owner;
  return base + first_image * argument.image_bytes;
}

void CpuProgram::run_step(const Run& run, const Step& step, const Piece& piece) {
  const int64_t first_image = piece.slice * run.entry.slice;
  std::array<void*, kMostArguments> inputs, outputs;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    inputs[i] = place(step.inputs[i], first_image, piece.owner);
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    outputs[i] = step.reduces ? nullptr : place(step.outputs[i], first_image, piece.owner);
  }
  const Slice arguments{
      piece.slice,
      first_image,
      std::min(run.entry.slice, run.entry.images - first_image),
      {inputs.data(), step.inputs.size()},
      {outputs.data(), step.outputs.size()},
      scratch_.data() + plan_.scratch_bytes * piece.thread,
      step.reduces ? partials_.data() + step.partial_offset + step.partial_stride * piece.slice
                   : nullptr,
      piece.part,
      piece.parts};
  run.timed(step, piece.thread, [&] { step.kernel->run(arguments); });
}

void CpuProgram::combine(const Run& run, const Step& step, int thread) {
  std::array<void*, kMostArguments> inputs, outputs;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    inputs[i] = step.inputs[i].of_images ? nullptr : place(step.inputs[i], 0, thread);
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    outputs[i] = place(step.outputs[i], 0, thread);
  }
  const Partials partials{run.entry.slices(),
                          run.entry.images,
                          partials_.data() + step.partial_offset,
                          step.partial_stride,
                          {inputs.data(), step.inputs.size()},
                          {outputs.data(), step.outputs.size()}};
  run.timed(step, thread, [&] { step.kernel->combine(partials); });
}

}  // namespace secateur
