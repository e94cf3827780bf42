// Shares of a slice's work, for the threads that a small batch leaves idle.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/backend.h"

namespace secateur {

struct Range {
  int64_t first, last;
  int64_t count() const { return last - first; }
};

// This part of `total` things, in whole `unit`s but for the last.
inline Range part_of(int64_t total, int64_t unit, const Slice& slice) {
  const int64_t units = (total + unit - 1) / unit;
  const auto start = [&](int64_t part) { return std::min(total, units * part / slice.parts * unit); };
  return {start(slice.part), start(slice.part + 1)};
}

// Parts for work that divides into `units` and takes so many multiply-accumulates, or as long: few
// enough that each outweighs waking a thread, and a few for every thread, as they finish unevenly.
inline int64_t parts_for(int64_t units, int64_t operations) {
  constexpr int64_t kLeastOperations = 1 << 19, kMostParts = 16;
  return std::clamp<int64_t>(std::min(units, operations / kLeastOperations), 1, kMostParts);
}

// Passes over flat stretches of elements divide at multiples of this, so that what is handled in
// whole vectors does not depend on who handles it.
constexpr int64_t kFlatUnit = 4096;

inline void* element_at(void* base, bool bf16, int64_t index) {
  return static_cast<std::byte*>(base) + index * (bf16 ? 2 : 4);
}

// The same for passes over memory, which take about as long an element as sixteen products.
inline int64_t parts_of_pass(int64_t units, int64_t elements) {
  return parts_for(units, 16 * elements);
}

}  // namespace secateur
