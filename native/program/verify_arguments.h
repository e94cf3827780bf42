// What verify() checks of one instruction: counts, types, images and aliases of its arguments.
#pragma once

#include <functional>
#include <string>

#include "program/program.h"

namespace secateur {

// Names one argument of one instruction in a refusal.
struct ArgumentPlace {
  const Instruction& instruction;
  const std::string& argument;  // as operations.def names it
  const Value& value;
  bool output;

  // Throws Error("program-invalid", "<argument> '<value>' of layer ... <complaint>.").
  [[noreturn]] void refuse(const std::string& complaint) const;
};

// Visits the arguments that are present, inputs first.
void for_each_argument(const Program& program, const Instruction& instruction,
                       const std::function<void(const ArgumentPlace&, int32_t index)>& visit);

// Counts of inputs, outputs and attributes, indices in range, types.
void verify_arguments(const Program& program, const Instruction& instruction);

// Which arguments belong to images, and that they have the entry's.
void verify_images(const Program& program, const Entry& entry, const Instruction& instruction);

// No output shares bytes with an input or another output, except in place where the operation
// allows it.
void verify_aliases(const Program& program, const Entry& entry, const Instruction& instruction);

}  // namespace secateur
