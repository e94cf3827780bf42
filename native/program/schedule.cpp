#include "program/schedule.h"

namespace secateur {

namespace {

// Bounds the pairwise comparisons of a hostile program; real segments are far shorter.
constexpr size_t kLongestSegment = 2048;

struct Access {
  Extent extent;
  int64_t image_bytes;  // of a value cut into slices; 0 when every slice sees all of it
  bool writes;
  bool combines;  // written after all slices, not by them
};

void collect(const Program& program, const Entry& entry, const Instruction& instruction,
             std::vector<Access>& accesses) {
  const Kind kind = operations()[static_cast<size_t>(instruction.op)].kind;
  const auto add = [&](int32_t index, bool writes) {
    if (index < 0) return;
    const Value& value = program.values[index];
    if (value.arena == Arena::slice) return;  // each thread has its own
    const bool cut = kind != Kind::whole && value.images > 0 && value.images == entry.images;
    accesses.push_back({extent_of(value, entry.slice), cut ? value.image_bytes() : 0, writes,
                        writes && kind == Kind::reduction});
  };
  for (const int32_t index : instruction.inputs) add(index, false);
  for (const int32_t index : instruction.outputs) add(index, true);
}

bool must_separate(const Access& earlier, const Access& later) {
  if (!earlier.writes && !later.writes) return false;
  if (!earlier.extent.overlaps(later.extent)) return false;
  if (earlier.combines) return true;
  if (later.combines) {
    // Slices finish before anything combines; but what is not cut may be read while combining.
    return !earlier.writes && earlier.image_bytes == 0;
  }
  // Cut alike, each slice keeps to its own bytes and runs in order.
  return earlier.image_bytes == 0 || earlier.image_bytes != later.image_bytes ||
         earlier.extent.begin != later.extent.begin;
}

bool must_separate(const std::vector<Access>& earlier, const std::vector<Access>& later) {
  for (const Access& new_access : later) {
    for (const Access& old_access : earlier) {
      if (must_separate(old_access, new_access)) return true;
    }
  }
  return false;
}

}  // namespace

Extent extent_of(const Value& value, int64_t slice) {
  const int64_t images = value.images == 0             ? 1
                         : value.arena == Arena::slice ? slice
                                                       : value.images;
  return {value.arena, value.offset, value.offset + images * value.image_bytes()};
}

std::vector<Segment> segments(const Program& program, const Entry& entry) {
  std::vector<Segment> result;
  std::vector<Access> seen, accesses;
  for (int32_t at = entry.first; at < entry.first + entry.count; ++at) {
    const Instruction& instruction = program.instructions[at];
    const bool sliced = operations()[static_cast<size_t>(instruction.op)].kind != Kind::whole;
    accesses.clear();
    collect(program, entry, instruction, accesses);
    const bool joins = !result.empty() && result.back().sliced == sliced &&
                       result.back().count < static_cast<int32_t>(kLongestSegment) &&
                       !must_separate(seen, accesses);
    if (joins) {
      ++result.back().count;
    } else {
      result.push_back({sliced, at, 1});
      seen.clear();
    }
    seen.insert(seen.end(), accesses.begin(), accesses.end());
  }
  return result;
}

}  // namespace secateur
