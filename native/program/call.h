// What a kernel's factory is given, and how it refuses.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "program/program.h"

namespace secateur {

// Height, width and channels of an image value; [channels] is a picture of one pixel.
struct Extents {
  int64_t height, width, channels;
  int64_t pixels() const { return height * width; }
  int64_t elements() const { return pixels() * channels; }
};

// One instruction of one entry. Counts and types of its arguments have been verified; shapes are
// checked with this: require_* throws Error("program-invalid") with a sentence that names the
// argument, what was expected and what was found. Extents of one do not matter: [10, 64] is
// [10, 64, 1, 1].
struct Call {
  const Program& program;
  const Instruction& instruction;
  const Entry& entry;

  // nullptr where absent.
  const Value* input(size_t index) const;
  const Value* output(size_t index) const;
  int64_t integer(size_t index) const { return instruction.ints[index]; }
  float real(size_t index) const { return static_cast<float>(instruction.floats[index]); }

  // An absent argument has every shape.
  void require_input(size_t index, const std::vector<int64_t>& shape) const;
  void require_output(size_t index, const std::vector<int64_t>& shape) const;
  // Of an image value.
  Extents input_extents(size_t index) const;
  Extents output_extents(size_t index) const;
  // Integer attribute `index` lies in [least, most].
  void require_integer(size_t index, int64_t least, int64_t most) const;

  [[noreturn]] void refuse(const std::string& sentence) const;

 private:
  Extents extents(const Value& value, const std::string& name) const;
  void require(const Value* value, const std::string& name,
               const std::vector<int64_t>& shape) const;
};

std::string shape_text(const std::vector<int64_t>& shape);

inline bool is_bf16(const Value& value) { return value.dtype == DType::bf16; }

}  // namespace secateur
