// What pack_convolution and the convolutions that read its output must agree on. All of it follows
// from the integers of the pack_convolution, the machine and SECATEUR_ISA.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cpu/convolution/onednn/primitive.h"
#include "program/program.h"

namespace secateur::onednn {

struct Plan {
  Shape shape;
  Direction direction;
  DType stored;     // of activations, as the program asked
  DType computed;   // of activations and packed weights inside the primitive
  int64_t images;   // in one call of the primitive
  dnnl::memory::desc packed;

  int64_t input_elements() const;   // of one image
  int64_t result_elements() const;
};

dnnl::memory::data_type type_of(DType dtype);

// bf16 where oneDNN has kernels for it that multiply faster than in f32: by tiles, or by a dot product
// that was measured to be worth it. f32 otherwise, where converting in cache costs less.
DType computed_type(const Shape& shape, Direction direction, DType stored, int64_t images);

// Images in one call: all of a slice, or fewer where copies of another type should stay in L2.
int64_t images_per_call(const Shape& shape, bool converts, int64_t slice);

// `ints` are those of pack_convolution. nullopt where oneDNN is not the one to serve.
std::optional<Plan> make_plan(std::span<const int64_t> ints);

}  // namespace secateur::onednn
