// A recording: a serialised program with what to feed it and what to expect. src/native/recording.ts
// writes it; little-endian, unaligned:
//
//   "SCTRPLY1"
//   u64 + bytes       the program, see decode.h
//   u32 runs          each: string entry ("" runs nothing)
//                           u32 feeds         each: string value, u64 + bytes
//                           u32 expectations  each: string value, f64 tolerance, u64 + bytes
//
// Bytes are values as they cross to JavaScript: bf16 as f32, everything else as it is.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "program/program.h"

namespace secateur {

struct Feed {
  int32_t value;
  std::span<const std::byte> bytes;
};

struct Expectation {
  int32_t value;
  double tolerance;  // largest difference, as a share of the largest expected magnitude
  std::span<const std::byte> bytes;
};

struct RecordedRun {
  int32_t entry;  // -1: nothing
  std::vector<Feed> feeds;
  std::vector<Expectation> expectations;
};

struct Recording {
  Program program;
  std::vector<RecordedRun> runs;
};

// Spans point into `bytes`. Throws Error("program-invalid") for malformed ones.
Recording decode_recording(std::span<const std::byte> bytes);

// The largest difference between values of a type as a share of the largest expected magnitude;
// infinity where either holds a NaN or the other an infinity.
double difference(DType dtype, std::span<const std::byte> expected,
                  std::span<const std::byte> found);

}  // namespace secateur
