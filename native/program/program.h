// A compiled program as native code holds it: the C++ twin of src/program/program.ts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace secateur {

enum class DType : int32_t { f32, bf16, i32, f64, bytes };
enum class Arena : int32_t { weights, state, feeds, activations, slice };
constexpr int kArenas = 5;
// For people.
const char* arena_name(Arena arena);

enum class Op : int32_t {
#define OPERATION(name, kind, inputs, outputs, ints, floats) name,
#include "operations.def"
#undef OPERATION
  count
};

enum class Kind { whole, image, reduction };

constexpr int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::f64:
      return 8;
    case DType::bytes:
      return 1;
  }
  return 0;
}

// A tensor at a place. `shape` is per image when images > 0: [height, width, channels] or
// [channels]. See src/program/program.ts.
struct Value {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  int64_t images;  // 0: does not belong to images
  Arena arena;
  int64_t offset;  // bytes from the arena's start

  int64_t elements() const;     // of one image, or of the whole value
  int64_t image_bytes() const;  // elements() * dtype_bytes(dtype)
};

// Indices into Program::values; -1 where an optional argument is absent.
struct Instruction {
  Op op;
  std::vector<int32_t> inputs, outputs;
  std::vector<int64_t> ints;
  std::vector<double> floats;
  std::string layer;
};

struct Entry {
  std::string name;
  int32_t first, count;
  int64_t images, slice;
};

struct Program {
  std::vector<Value> values;
  int64_t arena_bytes[kArenas];  // slice: bytes per thread
  std::vector<Instruction> instructions;
  std::vector<Entry> entries;
};

struct Operation {
  const char* name;
  Kind kind;
  std::vector<std::string> inputs, outputs, ints, floats;  // optional names keep their '?'
};

// The table of operations.def, indexed by Op.
const std::vector<Operation>& operations();

}  // namespace secateur
