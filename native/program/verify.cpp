#include "program/verify.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "error.h"
#include "program/schedule.h"
#include "program/verify_arguments.h"

namespace secateur {

namespace {

constexpr int64_t kMostBytes = int64_t{1} << 46;
constexpr int64_t kMostImages = int64_t{1} << 31;
// Of all entries together: bounds the kernels a program makes us build.
constexpr int64_t kMostPlaced = int64_t{1} << 17;
constexpr int64_t kAlignment = 64;

[[noreturn]] void refuse(const std::string& sentence) { throw Error("program-invalid", sentence); }

void verify_value(const Program& program, const Value& value) {
  const std::string name = "value '" + value.name + "'";
  int64_t bytes = dtype_bytes(value.dtype);
  for (const int64_t extent : value.shape) {
    if (extent < 1 || __builtin_mul_overflow(bytes, extent, &bytes) || bytes > kMostBytes) {
      refuse("Expected positive dimensions of a sensible size for " + name + ", found " +
             std::to_string(extent) + ".");
    }
  }
  if (value.images < 0 || value.images > kMostImages) {
    refuse("Expected between 0 and 2^31 images for " + name + ", found " +
           std::to_string(value.images) + ".");
  }
  if (value.offset < 0 || value.offset % kAlignment != 0) {
    refuse("Expected an offset that is a multiple of 64 for " + name + ", found " +
           std::to_string(value.offset) + ".");
  }
  const bool sliced = value.arena == Arena::slice;
  if (sliced && value.images == 0) {
    refuse("Only image values may live in the slice arena, but " + name + " has no images.");
  }
  // A slice has at least one image; verify_entry knows how many.
  const int64_t images = sliced || value.images == 0 ? 1 : value.images;
  const int64_t room = program.arena_bytes[static_cast<int>(value.arena)];
  if (value.offset > room || bytes > (room - value.offset) / images) {
    refuse("Expected " + name + " inside its arena of " + std::to_string(room) +
           " bytes, found " + std::to_string(images) + " x " + std::to_string(bytes) +
           " bytes at offset " + std::to_string(value.offset) + ".");
  }
}

void verify_entry_header(const Program& program, const Entry& entry) {
  const std::string name = "entry '" + entry.name + "'";
  const auto instructions = static_cast<int64_t>(program.instructions.size());
  if (entry.first < 0 || entry.count < 0 || int64_t{entry.first} + entry.count > instructions) {
    refuse("Expected the range of " + name + " within " + std::to_string(instructions) +
           " instructions, found " + std::to_string(entry.count) + " from " +
           std::to_string(entry.first) + ".");
  }
  if (entry.images < 0 || entry.images > kMostImages || entry.slice < 0 ||
      entry.slice > kMostImages || (entry.images > 0 && entry.slice == 0)) {
    refuse("Expected slices of at least one image for " + name + ", found " +
           std::to_string(entry.images) + " images in slices of " + std::to_string(entry.slice) +
           ".");
  }
}

// Tracks what the slice arena holds while a segment runs.
class SliceArena {
 public:
  SliceArena(const Program& program, const Entry& entry) : program_(program), entry_(entry) {}

  void clear() { live_.clear(); }

  void read(const ArgumentPlace& place, int32_t index) {
    if (program_.values[index].arena != Arena::slice) return;
    if (std::find(live_.begin(), live_.end(), index) == live_.end()) {
      place.refuse("was expected from an earlier instruction of the same segment, but the slice "
                   "arena does not hold it here");
    }
  }

  void write(const ArgumentPlace& place, int32_t index) {
    const Value& value = program_.values[index];
    if (value.arena != Arena::slice) return;
    const int64_t room = program_.arena_bytes[static_cast<int>(Arena::slice)];
    if (value.image_bytes() > (room - value.offset) / entry_.slice) {
      place.refuse("does not fit the slice arena of " + std::to_string(room) +
                   " bytes with slices of " + std::to_string(entry_.slice) + " images");
    }
    const Extent extent = extent_of(value, entry_.slice);
    std::erase_if(live_, [&](int32_t other) {
      return extent.overlaps(extent_of(program_.values[other], entry_.slice));
    });
    live_.push_back(index);
  }

 private:
  const Program& program_;
  const Entry& entry_;
  std::vector<int32_t> live_;
};

void verify_entry(const Program& program, const Entry& entry) {
  for (int32_t at = entry.first; at < entry.first + entry.count; ++at) {
    verify_images(program, entry, program.instructions[at]);
  }
  SliceArena arena(program, entry);
  for (const Segment& segment : segments(program, entry)) {
    arena.clear();
    for (int32_t at = segment.first; at < segment.first + segment.count; ++at) {
      const Instruction& instruction = program.instructions[at];
      for_each_argument(program, instruction, [&](const ArgumentPlace& place, int32_t index) {
        if (place.output) {
          arena.write(place, index);
        } else {
          arena.read(place, index);
        }
      });
      verify_aliases(program, entry, instruction);
    }
  }
}

}  // namespace

void verify(const Program& program) {
  for (const int64_t bytes : program.arena_bytes) {
    if (bytes < 0 || bytes > kMostBytes) {
      refuse("Expected arenas of 0 to 2^46 bytes, found " + std::to_string(bytes) + ".");
    }
  }
  std::unordered_set<std::string_view> names;
  for (const Value& value : program.values) {
    if (!names.insert(value.name).second) refuse("Two values are named '" + value.name + "'.");
    verify_value(program, value);
  }
  for (const Instruction& instruction : program.instructions) {
    verify_arguments(program, instruction);
  }
  names.clear();
  int64_t placed = 0;
  for (const Entry& entry : program.entries) {
    if (!names.insert(entry.name).second) refuse("Two entries are named '" + entry.name + "'.");
    verify_entry_header(program, entry);
    placed += entry.count;
    if (placed > kMostPlaced) refuse("The entries run more than 131,072 instructions in all.");
    verify_entry(program, entry);
  }
}

}  // namespace secateur
