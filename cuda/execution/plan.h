// What a program becomes when it loads: for every entry, segments of kernels that know where their
// arguments are.
#pragma once

#include <cstdint>
#include <vector>

#include "execution/kernel.h"
#include "program/program.h"

namespace secateur::cuda {

// Where an argument lies: `offset` bytes into its arena and, for image values, image_bytes further
// for every image. In the slice arena images count from the slice's first.
struct Argument {
  int32_t arena = -1;  // -1: absent
  int64_t offset = 0;
  int64_t image_bytes = 0;  // 0: the same place for all slices
  bool of_images = false;
};

struct Step {
  int32_t instruction = 0;  // into Program::instructions
  KernelPointer kernel;
  std::vector<Argument> inputs, outputs;
  bool reduces = false;
  int64_t partial_offset = 0;  // of slice 0, where it reduces
  int64_t partial_stride = 0;  // between slices
};

struct PlannedSegment {
  bool sliced = false;  // see Segment in program/schedule.h
  std::vector<Step> steps;
};

// A GPU wants much work at once, so a slice is the whole batch, unless values live in the slice
// arena: that has room for as many images as the program says.
struct PlannedEntry {
  int64_t images = 0, slice = 0;
  std::vector<PlannedSegment> segments;

  int64_t slices() const { return images == 0 ? 0 : (images + slice - 1) / slice; }
};

struct Plan {
  std::vector<PlannedEntry> entries;
  int64_t partial_bytes = 0;  // of the neediest segment
  int64_t scratch_bytes = 0;  // of the neediest kernel
};

// `program` must have passed verify(). Throws Error("program-invalid") naming every instruction for
// which there is no kernel (the first few of many).
Plan plan(const Program& program);

}  // namespace secateur::cuda
