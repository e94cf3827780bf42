// How an entry's instructions are grouped: into sliced segments, in which every slice of the batch
// runs all instructions while its data is in the cache, and groups of whole instructions that do
// not depend on one another.
#pragma once

#include <cstdint>
#include <vector>

#include "program/program.h"

namespace secateur {

struct Segment {
  // Sliced: image and reduction instructions, slice by slice, then the reductions combine.
  // Otherwise: whole instructions, in any order.
  bool sliced;
  int32_t first, count;  // into Program::instructions
};

// Where a value lies in its arena, for an entry that runs slices of `slice` images.
struct Extent {
  Arena arena;
  int64_t begin, end;

  bool overlaps(const Extent& other) const {
    return arena == other.arena && begin < other.end && other.begin < end;
  }
};

Extent extent_of(const Value& value, int64_t slice);

// The longest segments that give the results of running the instructions one after another: a
// segment ends where an instruction needs what a reduction of it combines, or where slices running
// ahead would overwrite what others still read (two values sharing bytes without sharing the place
// of every image). Values and operand counts must have been verified.
std::vector<Segment> segments(const Program& program, const Entry& entry);

}  // namespace secateur
