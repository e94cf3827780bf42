// Per-channel numbers repeated over a whole number of vectors, for passes over flat NHWC data.
#pragma once

#include <cstdint>
#include <numeric>

#include "cpu/simd/vector_kernels.h"

namespace secateur {

class ChannelTables {
 public:
  // `floats` tables and `doubles` rows of sums.
  ChannelTables(const VectorKernels& vectors, int64_t channels, int64_t floats, int64_t doubles)
      : channels_(channels), period_(std::lcm(channels, vectors.lanes)), floats_(floats),
        doubles_(doubles) {
    // Short periods leave the loops too little to do at a time.
    while (period_ < 4 * vectors.lanes) period_ *= 2;
  }

  int64_t period() const { return period_; }

  int64_t scratch_bytes() const {
    return period_ * (doubles_ * static_cast<int64_t>(sizeof(double)) +
                      floats_ * static_cast<int64_t>(sizeof(float)));
  }

  void clear_sums(void* scratch) const {
    for (int64_t i = 0; i < doubles_ * period_; ++i) static_cast<double*>(scratch)[i] = 0;
  }
  // Table `index` = value(channel), repeated.
  template <class Function>
  void fill(void* scratch, int64_t index, Function value) const {
    float* const to = table(scratch, index);
    for (int64_t c = 0; c < channels_; ++c) to[c] = value(c);
    for (int64_t i = channels_; i < period_; ++i) to[i] = to[i - channels_];
  }
  // Over `elements` numbers, with all tables and sums in place.
  ChannelSweep sweep(void* scratch, bool bf16, int64_t elements) const {
    ChannelSweep result{};
    result.bf16 = bf16;
    result.elements = elements;
    result.period = period_;
    for (int64_t i = 0; i < floats_; ++i) result.table[i] = table(scratch, i);
    for (int64_t i = 0; i < doubles_; ++i) result.sums[i] = sums(scratch, i);
    return result;
  }
  // The sum of row `row` that belongs to `channel`.
  double sum_of(const void* scratch, int64_t row, int64_t channel) const {
    const double* const from = static_cast<const double*>(scratch) + row * period_;
    double sum = 0;
    for (int64_t i = channel; i < period_; i += channels_) sum += from[i];
    return sum;
  }

 private:
  // Doubles first, so that both are aligned.
  double* sums(void* scratch, int64_t row) const {
    return static_cast<double*>(scratch) + row * period_;
  }
  float* table(void* scratch, int64_t index) const {
    return reinterpret_cast<float*>(static_cast<double*>(scratch) + doubles_ * period_) +
           index * period_;
  }

  const int64_t channels_;
  int64_t period_;
  const int64_t floats_, doubles_;
};

}  // namespace secateur
