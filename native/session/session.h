// What a session is, whatever executes it: a verified program whose values are written and read and
// whose entries run. Whoever owns it calls it from one thread at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "session/executor.h"
#include "program/program.h"

namespace secateur {

class Session {
 public:
  // Verifies the program and loads it. Throws Error("program-invalid") for what is wrong with it
  // and what Executor::load throws.
  Session(Program program, const Executor& executor);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  const Program& program() const { return program_; }
  MemorySizes sizes() const { return loaded_->sizes(); }

  // Bytes of a value outside the session, in the form of program/exchange.h.
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
  const Program program_;
  const std::unique_ptr<LoadedProgram> loaded_;
};

}  // namespace secateur
