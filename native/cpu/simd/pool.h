// Pooling, a vector of channels at a time. Included by the simd_*.cpp files; see simd.h.
#pragma once

#include "cpu/simd/simd.h"

namespace secateur {
namespace {

typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));

// The part of one output's window that lies inside the picture.
struct Window {
  int64_t top, left, first_row, last_row, first_column, last_column;
  Window(const PoolSweep& p, int64_t row, int64_t column)
      : top(row * p.stride_height - p.pad_top), left(column * p.stride_width - p.pad_left),
        first_row(top < 0 ? -top : 0), last_row(inside(p.kernel_height, p.in_height - top)),
        first_column(left < 0 ? -left : 0), last_column(inside(p.kernel_width, p.in_width - left)) {}
  static int64_t inside(int64_t kernel, int64_t room) { return kernel < room ? kernel : room; }
  int64_t cells() const {
    const int64_t rows = last_row - first_row, across = last_column - first_column;
    return rows > 0 && across > 0 ? rows * across : 0;
  }
};

// Vectors of channels: whole ones, the last overlapping the one before, or one partial vector where
// there are too few channels. Calls visit(channel, count).
template <class Visit>
SECATEUR_INLINE void each_vector(int64_t channels, Visit visit) {
  if (channels < kLanes) {
    visit(int64_t{0}, static_cast<int>(channels));
    return;
  }
  for (int64_t channel = 0; channel < channels; channel += kLanes) {
    visit(channel + kLanes <= channels ? channel : channels - kLanes, kLanes);
  }
}

template <class T>
SECATEUR_INLINE Floats read_count(const T* at, int count) {
  return count == kLanes ? read<Floats>(at) : read_some(at, count);
}

template <class T>
SECATEUR_INLINE void write_count(T* at, Floats values, int count) {
  count == kLanes ? write(at, values) : write_some(at, values, count);
}

// The first of equal cells wins; NaN wins over everything, as in PyTorch.
template <class T>
SECATEUR_INLINE void max_of_window(const PoolSweep& p, const Window& w, const T* x, int count,
                                   Floats& best, Integers& winner) {
  best = Floats{} - __builtin_inff();
  winner = Integers{} + static_cast<int32_t>(w.first_row * p.kernel_width + w.first_column);
  for (int64_t i = w.first_row; i < w.last_row; ++i) {
    const T* from = x + ((w.top + i) * p.in_width + w.left + w.first_column) * p.channels;
    for (int64_t j = w.first_column; j < w.last_column; ++j, from += p.channels) {
      const Floats value = read_count(from, count);
      const Integers better = (value > best) | (value != value);
      best = better ? value : best;
      winner = better ? Integers{} + static_cast<int32_t>(i * p.kernel_width + j) : winner;
    }
  }
}

template <class T>
void max_pool_as(const PoolSweep& p, const T* x, T* y, int32_t* winners) {
  for (int64_t row = 0; row < p.out_height; ++row) {
    for (int64_t column = 0; column < p.out_width; ++column) {
      const Window window(p, row, column);
      each_vector(p.channels, [&](int64_t channel, int count) {
        Floats best;
        Integers winner;
        max_of_window(p, window, x + channel, count, best, winner);
        write_count(y + channel, best, count);
        if (winners == nullptr) return;
        for (int lane = 0; lane < count; ++lane) winners[channel + lane] = winner[lane];
      });
      y += p.channels;
      if (winners != nullptr) winners += p.channels;
    }
  }
}

void max_pool(const PoolSweep& p, const void* x, void* y, int32_t* winners) {
  if (p.bf16) {
    max_pool_as(p, static_cast<const bfloat16*>(x), static_cast<bfloat16*>(y), winners);
  } else {
    max_pool_as(p, static_cast<const float*>(x), static_cast<float*>(y), winners);
  }
}

// Row by row, so that the mean of a whole picture loses to rounding what two short sums do and not
// what one of ten thousand numbers does.
template <class T>
SECATEUR_INLINE Floats sum_of_window(const PoolSweep& p, const Window& w, const T* x, int count) {
  Floats sum{};
  for (int64_t i = w.first_row; i < w.last_row; ++i) {
    const T* from = x + ((w.top + i) * p.in_width + w.left + w.first_column) * p.channels;
    Floats row{};
    for (int64_t j = w.first_column; j < w.last_column; ++j, from += p.channels) {
      row += read_count(from, count);
    }
    sum += row;
  }
  return sum;
}

template <class T>
void average_pool_as(const PoolSweep& p, const T* x, T* y) {
  for (int64_t row = 0; row < p.out_height; ++row) {
    for (int64_t column = 0; column < p.out_width; ++column) {
      const Window window(p, row, column);
      const int64_t cells = p.count_padding ? p.kernel_height * p.kernel_width : window.cells();
      const float divisor = static_cast<float>(cells < 1 ? 1 : cells);
      each_vector(p.channels, [&](int64_t channel, int count) {
        write_count(y + channel, sum_of_window(p, window, x + channel, count) / divisor, count);
      });
      y += p.channels;
    }
  }
}

void average_pool(const PoolSweep& p, const void* x, void* y) {
  if (p.bf16) {
    average_pool_as(p, static_cast<const bfloat16*>(x), static_cast<bfloat16*>(y));
  } else {
    average_pool_as(p, static_cast<const float*>(x), static_cast<float*>(y));
  }
}

}  // namespace
}  // namespace secateur
