// The integer "precision" of operations.def: how exactly a convolution is to be computed.
#pragma once

#include <cstdint>
#include <string>

#include "error.h"

namespace secateur {

enum class Precision : int64_t {
  f32,       // every product as it stands
  bf16,      // weights rounded to bf16
  f32_fast,  // the fastest method whose error stays below 2e-5 of the largest value
};

// Throws Error("program-invalid").
inline Precision parse_precision(int64_t value) {
  if (value < 0 || value > static_cast<int64_t>(Precision::f32_fast)) {
    throw Error("program-invalid",
                "Expected a precision from 0 to 2, found " + std::to_string(value) + ".");
  }
  return static_cast<Precision>(value);
}

}  // namespace secateur
