// How sums of products become results. Included by kernels of one instruction set only; see simd.h.
#pragma once

#include "cpu/simd/simd.h"

namespace secateur {
namespace {

// y = relu?(value + residual) for one vector of one pixel; the last may be partial.
template <class T>
SECATEUR_INLINE void finish_vector(const T* residual, T* y, Floats value, bool relu, int count) {
  if (count == kLanes) {
    if (residual != nullptr) value += read<Floats>(residual);
    write(y, relu ? positive(value) : value);
  } else {
    if (residual != nullptr) value += read_some(residual, count);
    write_some(y, relu ? positive(value) : value, count);
  }
}

// `count` numbers of a table, or zeros where there is none.
SECATEUR_INLINE Floats table_at(const float* table, int64_t first, int count) {
  if (table == nullptr) return Floats{};
  return count == kLanes ? read<Floats>(table + first) : read_some(table + first, count);
}

}  // namespace
}  // namespace secateur
