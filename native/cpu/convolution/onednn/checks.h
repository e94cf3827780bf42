// What every kernel here makes sure of.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "cpu/convolution/onednn/primitive.h"
#include "program/program.h"

namespace secateur::onednn {

// Throws Error("program-invalid") unless value `index` has these elements per image or in whole.
void expect_elements(const Program& program, const Instruction& instruction, int32_t index,
                     int64_t elements, int64_t images);

// Runs a primitive; what oneDNN complains of names the layer.
void run_primitive(const Primitive& primitive, std::span<void* const> addresses,
                   const std::string& layer);

}  // namespace secateur::onednn
