#include "program/call.h"

#include "error.h"

namespace secateur {

namespace {

const Value* value_at(const Program& program, int32_t index) {
  return index < 0 ? nullptr : &program.values[static_cast<size_t>(index)];
}

std::vector<int64_t> without_ones(const std::vector<int64_t>& shape) {
  std::vector<int64_t> kept;
  for (const int64_t extent : shape) {
    if (extent != 1) kept.push_back(extent);
  }
  return kept;
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

const Value* Call::input(size_t index) const {
  return value_at(program, instruction.inputs[index]);
}

const Value* Call::output(size_t index) const {
  return value_at(program, instruction.outputs[index]);
}

void Call::refuse(const std::string& sentence) const { throw Error("program-invalid", sentence); }

void Call::require(const Value* value, const std::string& name,
                   const std::vector<int64_t>& shape) const {
  if (value == nullptr || without_ones(value->shape) == without_ones(shape)) return;
  refuse("expected " + name + " '" + value->name + "' to be " + shape_text(shape) + ", found " +
         shape_text(value->shape) + ".");
}

void Call::require_input(size_t index, const std::vector<int64_t>& shape) const {
  require(input(index), operations()[static_cast<size_t>(instruction.op)].inputs[index], shape);
}

void Call::require_output(size_t index, const std::vector<int64_t>& shape) const {
  require(output(index), operations()[static_cast<size_t>(instruction.op)].outputs[index], shape);
}

Extents Call::extents(const Value& value, const std::string& name) const {
  const auto& shape = value.shape;
  if (shape.size() == 1) return {1, 1, shape[0]};
  if (shape.size() == 3) return {shape[0], shape[1], shape[2]};
  refuse("expected " + name + " '" + value.name +
         "' to be [height, width, channels] or [channels], found " + shape_text(shape) + ".");
}

Extents Call::input_extents(size_t index) const {
  return extents(*input(index),
                 operations()[static_cast<size_t>(instruction.op)].inputs[index]);
}

Extents Call::output_extents(size_t index) const {
  return extents(*output(index),
                 operations()[static_cast<size_t>(instruction.op)].outputs[index]);
}

void Call::require_integer(size_t index, int64_t least, int64_t most) const {
  const int64_t found = integer(index);
  if (found >= least && found <= most) return;
  refuse("expected " + operations()[static_cast<size_t>(instruction.op)].ints[index] +
         " between " + std::to_string(least) + " and " + std::to_string(most) + ", found " +
         std::to_string(found) + ".");
}

}  // namespace secateur
