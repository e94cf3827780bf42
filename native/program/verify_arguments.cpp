#include "program/verify_arguments.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "error.h"
#include "program/schedule.h"

namespace secateur {

namespace {

// What an argument's name says about its value.
enum class Role {
  activation,   // of images, f32 or bf16
  image_f32,    // of images
  image_i32,    // of images
  packed,       // bytes
  parameter,    // f32
  index,        // i32
  accumulator,  // f64
};

std::string_view bare(std::string_view name) {
  return name.ends_with('?') ? name.substr(0, name.size() - 1) : name;
}

Role role_of(std::string_view argument) {
  static constexpr std::pair<std::string_view, Role> kRoles[] = {
      {"x", Role::activation},         {"y", Role::activation},
      {"dy", Role::activation},        {"dx", Role::activation},
      {"residual", Role::activation},  {"dresidual", Role::activation},
      {"a", Role::activation},         {"b", Role::activation},
      {"c", Role::activation},         {"d", Role::activation},
      {"e", Role::activation},         {"f", Role::activation},
      {"g", Role::activation},         {"h", Role::activation},
      {"target", Role::activation},    {"dlogits", Role::activation},
      {"logits", Role::image_f32},     {"teacher", Role::image_f32},
      {"loss", Role::image_f32},       {"ranks", Role::image_f32},
      {"labels", Role::image_i32},     {"winners", Role::image_i32},
      {"packed", Role::packed},        {"map", Role::index},
      {"rows", Role::index},           {"columns", Role::index},
      {"gram", Role::accumulator},     {"cross", Role::accumulator},
      {"squares", Role::accumulator},  {"total", Role::accumulator},
      {"other_labels", Role::image_i32}, {"label_shares", Role::image_f32},
      {"output", Role::image_f32},     {"wanted", Role::image_f32},
      {"previous", Role::image_f32},
  };
  const auto name = bare(argument);
  for (const auto& [known, role] : kRoles) {
    if (known == name) return role;
  }
  return Role::parameter;
}

bool of_images(Role role) {
  return role == Role::activation || role == Role::image_f32 || role == Role::image_i32;
}

bool fits(Role role, DType dtype) {
  switch (role) {
    case Role::activation:
      return dtype == DType::f32 || dtype == DType::bf16;
    case Role::image_f32:
    case Role::parameter:
      return dtype == DType::f32;
    case Role::image_i32:
    case Role::index:
      return dtype == DType::i32;
    case Role::accumulator:
      return dtype == DType::f64;
    case Role::packed:
      return dtype == DType::bytes;
  }
  return false;
}

const char* dtype_name(DType dtype) {
  static constexpr std::array kNames{"f32", "bf16", "i32", "f64", "bytes"};
  return kNames[static_cast<size_t>(dtype)];
}

// Where the operation says that its image values may differ in type.
bool may_mix_types(Op op) {
  return op == Op::convolution || op == Op::convolution_backward_weights || op == Op::cast ||
         op == Op::softmax_cross_entropy || op == Op::squared_error || op == Op::normal_equations;
}

// Kernels of these operations read each element before they write the same element.
bool may_be_in_place(Op op, std::string_view input, std::string_view output) {
  struct Pair {
    Op op;
    std::string_view input, output;
  };
  static constexpr Pair kPairs[] = {
      {Op::add, "a", "y"},
      {Op::add, "b", "y"},
      {Op::relu, "x", "y"},
      {Op::relu_backward, "dy", "dx"},
      {Op::gate, "x", "y"},
      {Op::activation, "x", "y"},
      {Op::activation_backward, "dy", "dx"},
      {Op::batch_norm_apply, "x", "y"},
      {Op::batch_norm_apply, "residual", "y"},
      {Op::batch_norm_inference, "x", "y"},
      {Op::batch_norm_inference, "residual", "y"},
      {Op::batch_norm_backward_apply, "dy", "dx"},
      {Op::batch_norm_backward_apply, "dy", "dresidual"},
      {Op::batch_norm_statistics, "running_mean", "running_mean"},
      {Op::batch_norm_statistics, "running_variance", "running_variance"},
      {Op::sgd, "weight", "weight"},
      {Op::sgd, "velocity", "velocity"},
      {Op::adamw, "weight", "weight"},
      {Op::adamw, "first", "first"},
      {Op::adamw, "second", "second"},
      {Op::average, "average", "average"},
  };
  return std::ranges::any_of(kPairs, [&](const Pair& pair) {
    return pair.op == op && pair.input == bare(input) && pair.output == bare(output);
  });
}

const Operation& operation_of(const Instruction& instruction) {
  return operations()[static_cast<size_t>(instruction.op)];
}

std::string place_of(const Instruction& instruction) {
  return "layer '" + instruction.layer + "' (" + operation_of(instruction).name + ")";
}

void verify_count(const Instruction& instruction, const char* what, size_t expected,
                  size_t found) {
  if (expected == found) return;
  throw Error("program-invalid", "Expected " + std::to_string(expected) + " " + what + " for " +
                                     place_of(instruction) + ", found " + std::to_string(found) +
                                     ".");
}

void verify_indices(const Program& program, const Instruction& instruction,
                    const std::vector<std::string>& names, const std::vector<int32_t>& indices) {
  for (size_t i = 0; i < indices.size(); ++i) {
    const bool absent = indices[i] == -1 && names[i].ends_with('?');
    const bool known =
        indices[i] >= 0 && static_cast<size_t>(indices[i]) < program.values.size();
    if (absent || known) continue;
    throw Error("program-invalid", "Expected one of " + std::to_string(program.values.size()) +
                                       " values as '" + names[i] + "' of " +
                                       place_of(instruction) + ", found " +
                                       std::to_string(indices[i]) + ".");
  }
}

}  // namespace

void ArgumentPlace::refuse(const std::string& complaint) const {
  throw Error("program-invalid", std::string(output ? "Output " : "Input ") +
                                     std::string(bare(argument)) + " '" + value.name + "' of " +
                                     place_of(instruction) + " " + complaint + ".");
}

void for_each_argument(const Program& program, const Instruction& instruction,
                       const std::function<void(const ArgumentPlace&, int32_t index)>& visit) {
  const Operation& operation = operation_of(instruction);
  const auto each = [&](const std::vector<int32_t>& indices,
                        const std::vector<std::string>& names, bool output) {
    for (size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] < 0) continue;
      visit({instruction, names[i], program.values[indices[i]], output}, indices[i]);
    }
  };
  each(instruction.inputs, operation.inputs, false);
  each(instruction.outputs, operation.outputs, true);
}

void verify_arguments(const Program& program, const Instruction& instruction) {
  const Operation& operation = operation_of(instruction);
  verify_count(instruction, "inputs", operation.inputs.size(), instruction.inputs.size());
  verify_count(instruction, "outputs", operation.outputs.size(), instruction.outputs.size());
  verify_count(instruction, "ints", operation.ints.size(), instruction.ints.size());
  verify_count(instruction, "floats", operation.floats.size(), instruction.floats.size());
  verify_indices(program, instruction, operation.inputs, instruction.inputs);
  verify_indices(program, instruction, operation.outputs, instruction.outputs);
  for (const double number : instruction.floats) {
    if (std::isfinite(number)) continue;
    throw Error("program-invalid",
                "Expected finite attributes for " + place_of(instruction) + ".");
  }
  const Value* first = nullptr;
  for_each_argument(program, instruction, [&](const ArgumentPlace& place, int32_t) {
    const Role role = role_of(place.argument);
    if (!fits(role, place.value.dtype)) {
      place.refuse(std::string("cannot be of type ") + dtype_name(place.value.dtype));
    }
    if (role != Role::activation || may_mix_types(instruction.op)) return;
    if (first != nullptr && first->dtype != place.value.dtype) {
      place.refuse(std::string("was expected to be ") + dtype_name(first->dtype) +
                   " like the others, found " + dtype_name(place.value.dtype));
    }
    first = &place.value;
  });
}

void verify_images(const Program& program, const Entry& entry, const Instruction& instruction) {
  const Kind kind = operation_of(instruction).kind;
  if (kind != Kind::whole && entry.images == 0) {
    throw Error("program-invalid", "Entry '" + entry.name + "' has no images, but " +
                                       place_of(instruction) + " needs some.");
  }
  for_each_argument(program, instruction, [&](const ArgumentPlace& place, int32_t) {
    const int64_t images = place.value.images;
    const int64_t expected = of_images(role_of(place.argument)) ? entry.images : 0;
    if (images == expected) return;
    // A gate repeats a cached prefix.
    const bool repeats = instruction.op == Op::gate && !place.output && expected > 0 &&
                         images > 0 && images < expected && expected % images == 0;
    if (repeats && place.value.arena != Arena::slice) return;
    place.refuse("was expected to have " + std::to_string(expected) + " images in entry '" +
                 entry.name + "', found " + std::to_string(images) +
                 (repeats ? " in the slice arena" : ""));
  });
}

void verify_aliases(const Program& program, const Entry& entry, const Instruction& instruction) {
  for_each_argument(program, instruction, [&](const ArgumentPlace& place, int32_t index) {
    if (!place.output) return;
    const Extent written = extent_of(place.value, entry.slice);
    for_each_argument(program, instruction, [&](const ArgumentPlace& other, int32_t other_index) {
      const bool itself = other.output && &other.argument == &place.argument;
      if (itself || !written.overlaps(extent_of(other.value, entry.slice))) return;
      const bool same_bytes =
          index == other_index ||
          (other.value.offset == place.value.offset && other.value.images == place.value.images &&
           other.value.image_bytes() == place.value.image_bytes());
      if (!other.output && same_bytes &&
          may_be_in_place(instruction.op, other.argument, place.argument)) {
        return;
      }
      place.refuse("shares bytes with " + std::string(bare(other.argument)) + " '" +
                   other.value.name + "'");
    });
  });
}

}  // namespace secateur
