// What executes programs: this machine's processors (cpu/), or a GPU behind a plugin. A session
// (session.h) is the same for all of them: it verifies the program and checks what comes
// in, so that an executor sees only what makes sense.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "program/program.h"

namespace secateur {

// Bytes that a loaded program holds: slice arenas and scratch are those of all threads together.
struct MemorySizes {
  int64_t arenas = 0, partials = 0, scratch = 0;
};

// A program with its kernels and memory. Called from one thread at a time.
class LoadedProgram {
 public:
  virtual ~LoadedProgram() = default;

  virtual MemorySizes sizes() const = 0;

  // Copies a whole value, by index, in or out; outside, it has the form of program/exchange.h. The
  // program has such a value, not in the slice arena, and the bytes are as many as it has there.
  virtual void write(int32_t value, std::span<const std::byte> from) = 0;
  virtual void read(int32_t value, std::span<std::byte> to) const = 0;

  // As Session::run; there is an entry of this index.
  virtual void run(int32_t entry, const std::atomic<bool>& cancelled,
                   std::span<int64_t> nanoseconds) = 0;
};

class Executor {
 public:
  virtual ~Executor() = default;

  // What it answers to the compiler: bytes of the output of a pack_convolution with these ints.
  // Throws Error("program-invalid") when they make no sense.
  virtual int64_t packed_bytes(std::span<const int64_t> ints) const = 0;

  // Builds the kernels of a verified program, which must outlive what is returned, and takes its
  // memory, zeroed. Throws Error("program-invalid") for instructions that it does not support or
  // whose shapes do not fit, and Error("addon-failed") when memory or threads are refused.
  virtual std::unique_ptr<LoadedProgram> load(const Program& program) const = 0;
};

}  // namespace secateur
