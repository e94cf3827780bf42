// Pixels of NHWC images one by one, as f32 whatever they are stored in.
#pragma once

#include <algorithm>
#include <cstddef>

#include "program/call.h"
#include "cpu/simd/vector_kernels.h"

namespace secateur {

class Pixels {
 public:
  explicit Pixels(const Value& value, int64_t channels)
      : vectors_(vector_kernels()), channels_(channels), bf16_(is_bf16(value)) {}

  int64_t channels() const { return channels_; }

  // The channels of a pixel; copied to `room` where they are not f32.
  const float* read(const void* base, int64_t pixel, float* room) const {
    if (!bf16_) return static_cast<const float*>(base) + pixel * channels_;
    vectors_.widen(static_cast<const bfloat16*>(base) + pixel * channels_, channels_, room);
    return room;
  }

  void write(void* base, int64_t pixel, const float* from) const {
    if (bf16_) {
      vectors_.narrow(from, channels_, static_cast<bfloat16*>(base) + pixel * channels_);
    } else {
      std::copy_n(from, channels_, static_cast<float*>(base) + pixel * channels_);
    }
  }

 private:
  const VectorKernels& vectors_;
  const int64_t channels_;
  const bool bf16_;
};

}  // namespace secateur
