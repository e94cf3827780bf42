// Weights as the convolutions of this folder read them.
#pragma once

#include <cstdint>
#include <span>

#include "device/grid.h"
#include "program/call.h"
#include "program/shapes/convolution_shape.h"
#include "program/precision.h"

namespace secateur::cuda {

// Fewer result channels a group than this leave most of a tile idle: a thread for every result.
constexpr int64_t kLeastTiled = 8;

inline bool few_results(int64_t groups, int64_t results) {
  return groups > 1 && results < kLeastTiled;
}

// Forward, sources are inputs and results outputs; for gradients of the data it is the other way round,
// and taps are not mirrored.
struct PackedForm {
  enum class Kind : int64_t {
    // [group][tap and source channel][result channel] f32: rows are tap by tap, channels innermost.
    exact,
    // For tensor cores, [group][result channel][tap and source channel], where the channels of a tap are
    // filled up with zeros to whole vectors of 16 bytes: bf16, or f32 to be multiplied as tf32 in parts.
    bf16,
    tf32,
  };

  Kind kind;
  int64_t groups, taps, sources, results;  // channels of a group

  PackedForm(const ConvolutionShape& shape, bool backward, Kind its_kind)
      : kind(its_kind), groups(shape.groups), taps(shape.taps()),
        sources(backward ? shape.group_out() : shape.group_in()),
        results(backward ? shape.group_in() : shape.group_out()) {}

  static PackedForm of(const ConvolutionShape& shape, bool backward, Precision precision) {
    PackedForm form(shape, backward, Kind::exact);
    if (few_results(form.groups, form.results) || precision == Precision::f32) return form;
    form.kind = precision == Precision::bf16 ? Kind::bf16 : Kind::tf32;
    return form;
  }

  // The form that the packed input of a convolution has: its size tells. Refuses the call where it is
  // none of them.
  static PackedForm of(const Call& call, const ConvolutionShape& shape, bool backward);

  int64_t rows() const { return taps * padded_sources(); }
  int64_t padded_sources() const { return ceiling(sources, vector()) * vector(); }
  int64_t elements() const { return groups * rows() * results; }
  // The last bits of the size are the kind.
  int64_t bytes() const {
    return ceiling(elements() * (kind == Kind::bf16 ? 2 : 4), 16) * 16 +
           static_cast<int64_t>(kind) * 4;
  }

 private:
  int64_t vector() const { return kind == Kind::exact ? 1 : kind == Kind::bf16 ? 8 : 4; }
};

// Of pack_convolution's output for these ints. Throws Error("program-invalid").
int64_t packed_bytes(std::span<const int64_t> ints);

}  // namespace secateur::cuda
