// A program loaded for the processors of this machine. It has no thread of its own beyond its
// workers.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "aligned_memory.h"
#include "cpu/backend.h"
#include "cpu/execution/team.h"
#include "program/plan.h"
#include "program/program.h"
#include "session/executor.h"

namespace secateur {

class CpuProgram final : public LoadedProgram {
 public:
  // `program` has been verified and must outlive this.
  CpuProgram(const Program& program, int threads, const Backend& backend);

  MemorySizes sizes() const override;
  void write(int32_t value, std::span<const std::byte> from) override;
  void read(int32_t value, std::span<std::byte> to) const override;
  void run(int32_t entry, const std::atomic<bool>& cancelled,
           std::span<int64_t> nanoseconds) override;

 private:
  using Segment = Plan<Kernel>::Segment;
  using Step = Plan<Kernel>::Step;
  struct Run;
  // What one thread does of one instruction at a time.
  struct Piece {
    int64_t slice = 0, part = 0, parts = 1;
    int thread = 0;
    int owner = 0;  // whose copy of the slice arena holds the slice
  };

  void settle();
  void run_whole(const Run& run, const Segment& segment);
  void run_sliced(const Run& run, const Segment& segment);
  void run_parts(const Run& run, const Segment& segment);
  void run_step(const Run& run, const Step& step, const Piece& piece);
  void combine(const Run& run, const Step& step, int thread);
  std::byte* start_of(const Value& value) const;
  std::byte* place(const Argument& argument, int64_t first_image, int owner) const;

  const Program& program_;
  Plan<Kernel> plan_;  // its scratch: per thread
  Memory arenas_[kArenas];  // the slice arena of thread t starts at t * slice_stride_
  int64_t slice_stride_ = 0;
  Memory partials_, scratch_;
  int64_t runs_ = 0;
  Team team_;
};

}  // namespace secateur
