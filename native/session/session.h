// The machine: a loaded program with its memory, ready to run entries. It has no thread of its own
// beyond its workers; whoever owns it calls it from one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "aligned_memory.h"
#include "backend.h"
#include "program/program.h"
#include "session/plan.h"
#include "session/team.h"

namespace secateur {

class Session {
 public:
  struct Sizes {
    int64_t arenas, partials, scratch;  // bytes, slice arenas and scratch of all threads
  };

  // Verifies the program, builds its kernels and takes its memory, zeroed. Throws
  // Error("program-invalid") for what is wrong with it and Error("addon-failed") when the machine
  // has too little memory or refuses threads.
  Session(Program program, int threads, Engine engine);

  const Program& program() const { return program_; }
  int threads() const { return team_.threads(); }
  Sizes sizes() const;

  // Bytes of a value outside the session: bf16 travels as f32, everything else as it is.
  int64_t host_bytes(int32_t value) const;

  // Copies a whole value in or out in that form. Throws Error("program-invalid") for an unknown
  // value, another size, or a value in the slice arena, which keeps nothing between runs; the
  // checks alone do so ahead of time.
  void write(int32_t value, std::span<const std::byte> from);
  void read(int32_t value, std::span<std::byte> to) const;
  void check_access(int32_t value) const;
  void check_write(int32_t value, int64_t bytes) const;

  // Runs an entry. Throws Error("cancelled") soon after `cancelled` is set, or what a kernel
  // throws; what the entry was writing is then unspecified. Adds nanoseconds spent, summed over
  // slices and threads, to nanoseconds[instruction] unless that is empty.
  void run(int32_t entry, const std::atomic<bool>& cancelled, std::span<int64_t> nanoseconds);

 private:
  struct Run;
  // What one thread does of one instruction at a time.
  struct Piece {
    int64_t slice = 0, part = 0, parts = 1;
    int thread = 0;
    int owner = 0;  // whose copy of the slice arena holds the slice
  };

  void settle();
  void run_whole(const Run& run, const PlannedSegment& segment);
  void run_sliced(const Run& run, const PlannedSegment& segment);
  void run_parts(const Run& run, const PlannedSegment& segment);
  void run_step(const Run& run, const Step& step, const Piece& piece);
  void combine(const Run& run, const Step& step, int thread);
  std::byte* place(const Argument& argument, int64_t first_image, int owner) const;

  Program program_;
  std::unique_ptr<Backend> backend_;
  Plan plan_;
  Memory arenas_[kArenas];  // the slice arena of thread t starts at t * slice_stride_
  int64_t slice_stride_ = 0;
  Memory partials_, scratch_;
  int64_t runs_ = 0;
  Team team_;
};

}  // namespace secateur
