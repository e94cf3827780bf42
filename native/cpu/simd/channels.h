// Passes over flat NHWC data with per-channel tables: batch norm, gates, additions, relu.
// Included by the simd_*.cpp files; see simd.h.
//
// Channels rarely fill vectors, so tables repeat up to a common multiple of channels and lanes (the
// period) and the data is one flat stretch. Each pass takes a few columns of the period at a time and
// runs down the data with those columns' tables and sums in registers.
#pragma once

#include "cpu/simd/simd.h"

namespace secateur {
namespace {

// Sums stay in f32 for this many periods and then move to f64.
constexpr int64_t kFlush = 512;

// A pass is a struct template over the element type with
//   At<F>      one column: F is Floats, or float where fewer elements than a vector are left
//     At(pass, column)   reads the tables
//     run(pass, i)       handles the elements at i
//     flush(pass, column)  moves sums out

template <class F, class Pass>
SECATEUR_INLINE void rest_of_column(const Pass& pass, int64_t column, int64_t from, int64_t to) {
  for (int64_t i = from; i < to; ++i) {
    typename Pass::template At<F> at(pass, column + i - from);
    at.run(pass, i);
    at.flush(pass, column + i - from);
  }
}

// Columns [column, column + U vectors) of every period. By value: the loops may keep it in registers.
template <int U, class Pass>
void columns(const Pass pass, int64_t column, int64_t elements, int64_t period) {
  typedef typename Pass::template At<Floats> At;
  constexpr int64_t kWidth = U * kLanes;
  int64_t i = column;
  while (i + kWidth <= elements) {
    int64_t periods = (elements - kWidth - i) / period + 1;
    if (periods > kFlush) periods = kFlush;
    At at[U];
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) at[u] = At(pass, column + u * kLanes);
    for (int64_t p = 0; p < periods; ++p, i += period) {
#pragma GCC unroll 4
      for (int u = 0; u < U; ++u) at[u].run(pass, i + u * kLanes);
    }
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) at[u].flush(pass, column + u * kLanes);
  }
  if (i < elements) rest_of_column<float>(pass, column, i, elements);
}

// `period` is a multiple of the lanes.
template <class Pass>
void sweep_columns(const Pass& pass, int64_t elements, int64_t period) {
  int64_t column = 0;
  for (; column + kUnroll * kLanes <= period; column += kUnroll * kLanes) {
    columns<kUnroll>(pass, column, elements, period);
  }
  for (; column < period; column += kLanes) columns<1>(pass, column, elements, period);
}

template <class T>
struct Add {
  const T *x, *second;
  T* y;
  bool relu;
  template <class F>
  struct At {
    At() = default;
    At(const Add&, int64_t) {}
    SECATEUR_INLINE void run(const Add& pass, int64_t i) {
      const F sum = read<F>(pass.x + i) + read<F>(pass.second + i);
      write(pass.y + i, pass.relu ? positive(sum) : sum);
    }
    SECATEUR_INLINE void flush(const Add&, int64_t) {}
  };
  explicit Add(const ChannelSweep& s)
      : x(static_cast<const T*>(s.x)), second(static_cast<const T*>(s.second)),
        y(static_cast<T*>(s.y)), relu(s.relu) {}
};

template <class T>
struct Relu {
  const T* x;
  T* y;
  template <class F>
  struct At {
    At() = default;
    At(const Relu&, int64_t) {}
    SECATEUR_INLINE void run(const Relu& pass, int64_t i) {
      write(pass.y + i, positive(read<F>(pass.x + i)));
    }
    SECATEUR_INLINE void flush(const Relu&, int64_t) {}
  };
  explicit Relu(const ChannelSweep& s) : x(static_cast<const T*>(s.x)), y(static_cast<T*>(s.y)) {}
};

template <class T>
struct ReluBackward {
  const T *dy, *output;
  T* dx;
  template <class F>
  struct At {
    At() = default;
    At(const ReluBackward&, int64_t) {}
    SECATEUR_INLINE void run(const ReluBackward& pass, int64_t i) {
      write(pass.dx + i, where_positive(read<F>(pass.output + i), read<F>(pass.dy + i)));
    }
    SECATEUR_INLINE void flush(const ReluBackward&, int64_t) {}
  };
  explicit ReluBackward(const ChannelSweep& s)
      : dy(static_cast<const T*>(s.second)), output(static_cast<const T*>(s.output)),
        dx(static_cast<T*>(s.y)) {}
};

template <class T>
struct Multiply {
  const T* x;
  T* y;
  const float* factor;
  template <class F>
  struct At {
    F factor;
    At() = default;
    SECATEUR_INLINE At(const Multiply& pass, int64_t column)
        : factor(read<F>(pass.factor + column)) {}
    SECATEUR_INLINE void run(const Multiply& pass, int64_t i) {
      write(pass.y + i, read<F>(pass.x + i) * factor);
    }
    SECATEUR_INLINE void flush(const Multiply&, int64_t) {}
  };
  explicit Multiply(const ChannelSweep& s)
      : x(static_cast<const T*>(s.x)), y(static_cast<T*>(s.y)), factor(s.table[0]) {}
};

// sums[column + lane] += value[lane], in f64.
SECATEUR_INLINE void add_wide(double* sums, Floats value) {
  typedef float HalfFloats __attribute__((vector_size(kVectorBytes / 2), aligned(4), may_alias));
  float lanes[kLanes];
  write(lanes, value);
  for (int i = 0; i < kLanes; i += kLanes / 2) {
    const auto half = *reinterpret_cast<const HalfFloats*>(lanes + i);
    *reinterpret_cast<DoublesAt*>(sums + i) += __builtin_convertvector(half, Doubles);
  }
}
SECATEUR_INLINE void add_wide(double* sums, float value) { *sums += static_cast<double>(value); }

template <class T>
struct ColumnSums {
  const T* x;
  double* sums;
  template <class F>
  struct At {
    F sum;
    At() = default;
    SECATEUR_INLINE At(const ColumnSums&, int64_t) : sum{} {}
    SECATEUR_INLINE void run(const ColumnSums& pass, int64_t i) { sum += read<F>(pass.x + i); }
    SECATEUR_INLINE void flush(const ColumnSums& pass, int64_t column) {
      add_wide(pass.sums + column, sum);
    }
  };
  explicit ColumnSums(const ChannelSweep& s)
      : x(static_cast<const T*>(s.x)), sums(s.sums[0]) {}
};

template <class T>
struct Moments {
  const T* x;
  const float* shift;
  double *sums, *squares;
  template <class F>
  struct At {
    F shift, sum, square;
    At() = default;
    SECATEUR_INLINE At(const Moments& pass, int64_t column)
        : shift(read<F>(pass.shift + column)), sum{}, square{} {}
    SECATEUR_INLINE void run(const Moments& pass, int64_t i) {
      const F value = read<F>(pass.x + i) - shift;
      sum += value;
      square += value * value;
    }
    SECATEUR_INLINE void flush(const Moments& pass, int64_t column) {
      add_wide(pass.sums + column, sum);
      add_wide(pass.squares + column, square);
    }
  };
  explicit Moments(const ChannelSweep& s)
      : x(static_cast<const T*>(s.x)), shift(s.table[0]), sums(s.sums[0]), squares(s.sums[1]) {}
};

template <class T, bool kResidual>
struct Normalise {
  const T *x, *residual;
  T* y;
  const float *mean, *factor, *offset;
  bool relu;
  template <class F>
  struct At {
    F mean, factor, offset;
    At() = default;
    SECATEUR_INLINE At(const Normalise& pass, int64_t column)
        : mean(read<F>(pass.mean + column)), factor(read<F>(pass.factor + column)),
          offset(read<F>(pass.offset + column)) {}
    SECATEUR_INLINE void run(const Normalise& pass, int64_t i) {
      F value = (read<F>(pass.x + i) - mean) * factor + offset;
      if constexpr (kResidual) value += read<F>(pass.residual + i);
      write(pass.y + i, pass.relu ? positive(value) : value);
    }
    SECATEUR_INLINE void flush(const Normalise&, int64_t) {}
  };
  explicit Normalise(const ChannelSweep& s)
      : x(static_cast<const T*>(s.x)), residual(static_cast<const T*>(s.second)),
        y(static_cast<T*>(s.y)), mean(s.table[0]), factor(s.table[1]), offset(s.table[2]),
        relu(s.relu) {}
};

template <class T, bool kMasked>
struct NormaliseBackwardSums {
  const T *x, *dy, *output;
  const float* mean;
  double *sums, *products;
  template <class F>
  struct At {
    F mean, sum, product;
    At() = default;
    SECATEUR_INLINE At(const NormaliseBackwardSums& pass, int64_t column)
        : mean(read<F>(pass.mean + column)), sum{}, product{} {}
    SECATEUR_INLINE void run(const NormaliseBackwardSums& pass, int64_t i) {
      F dz = read<F>(pass.dy + i);
      if constexpr (kMasked) dz = where_positive(read<F>(pass.output + i), dz);
      sum += dz;
      product += dz * (read<F>(pass.x + i) - mean);
    }
    SECATEUR_INLINE void flush(const NormaliseBackwardSums& pass, int64_t column) {
      add_wide(pass.sums + column, sum);
      add_wide(pass.products + column, product);
    }
  };
  explicit NormaliseBackwardSums(const ChannelSweep& s)
      : x(static_cast<const T*>(s.x)), dy(static_cast<const T*>(s.second)),
        output(static_cast<const T*>(s.output)), mean(s.table[0]), sums(s.sums[0]),
        products(s.sums[1]) {}
};

template <class T, bool kMasked, bool kResidual>
struct NormaliseBackward {
  const T *x, *dy, *output;
  T *dx, *dresidual;
  const float *mean, *direct, *slope, *constant;
  template <class F>
  struct At {
    F mean, direct, slope, constant;
    At() = default;
    SECATEUR_INLINE At(const NormaliseBackward& pass, int64_t column)
        : mean(read<F>(pass.mean + column)), direct(read<F>(pass.direct + column)),
          slope(read<F>(pass.slope + column)), constant(read<F>(pass.constant + column)) {}
    SECATEUR_INLINE void run(const NormaliseBackward& pass, int64_t i) {
      F dz = read<F>(pass.dy + i);
      if constexpr (kMasked) dz = where_positive(read<F>(pass.output + i), dz);
      const F dx = dz * direct + (read<F>(pass.x + i) - mean) * slope + constant;
      if constexpr (kResidual) write(pass.dresidual + i, dz);
      write(pass.dx + i, dx);
    }
    SECATEUR_INLINE void flush(const NormaliseBackward&, int64_t) {}
  };
  explicit NormaliseBackward(const ChannelSweep& s)
      : x(static_cast<const T*>(s.x)), dy(static_cast<const T*>(s.second)),
        output(static_cast<const T*>(s.output)), dx(static_cast<T*>(s.y)),
        dresidual(static_cast<T*>(s.dresidual)), mean(s.table[0]), direct(s.table[1]),
        slope(s.table[2]), constant(s.table[3]) {}
};

template <template <class> class Pass>
void flat_pass(const ChannelSweep& s) {
  constexpr int64_t kPeriod = kUnroll * kLanes;
  if (s.bf16) {
    sweep_columns(Pass<bfloat16>(s), s.elements, kPeriod);
  } else {
    sweep_columns(Pass<float>(s), s.elements, kPeriod);
  }
}

template <template <class> class Pass>
void table_pass(const ChannelSweep& s) {
  if (s.bf16) {
    sweep_columns(Pass<bfloat16>(s), s.elements, s.period);
  } else {
    sweep_columns(Pass<float>(s), s.elements, s.period);
  }
}

template <class T>
void normalise_as(const ChannelSweep& s) {
  if (s.second != nullptr) {
    sweep_columns(Normalise<T, true>(s), s.elements, s.period);
  } else {
    sweep_columns(Normalise<T, false>(s), s.elements, s.period);
  }
}

template <class T>
void normalise_backward_sums_as(const ChannelSweep& s) {
  if (s.output != nullptr) {
    sweep_columns(NormaliseBackwardSums<T, true>(s), s.elements, s.period);
  } else {
    sweep_columns(NormaliseBackwardSums<T, false>(s), s.elements, s.period);
  }
}

template <class T>
void normalise_backward_as(const ChannelSweep& s) {
  const bool masked = s.output != nullptr, residual = s.dresidual != nullptr;
  if (masked && residual) {
    sweep_columns(NormaliseBackward<T, true, true>(s), s.elements, s.period);
  } else if (masked) {
    sweep_columns(NormaliseBackward<T, true, false>(s), s.elements, s.period);
  } else if (residual) {
    sweep_columns(NormaliseBackward<T, false, true>(s), s.elements, s.period);
  } else {
    sweep_columns(NormaliseBackward<T, false, false>(s), s.elements, s.period);
  }
}

void normalise(const ChannelSweep& s) {
  s.bf16 ? normalise_as<bfloat16>(s) : normalise_as<float>(s);
}
void normalise_backward_sums(const ChannelSweep& s) {
  s.bf16 ? normalise_backward_sums_as<bfloat16>(s) : normalise_backward_sums_as<float>(s);
}
void normalise_backward(const ChannelSweep& s) {
  s.bf16 ? normalise_backward_as<bfloat16>(s) : normalise_backward_as<float>(s);
}

void widen_all(const bfloat16* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) write(to + i, read<Floats>(from + i));
  for (; i < count; ++i) write(to + i, read<float>(from + i));
}

void narrow_all(const float* from, int64_t count, bfloat16* to) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) write(to + i, read<Floats>(from + i));
  for (; i < count; ++i) write(to + i, read<float>(from + i));
}

}  // namespace
}  // namespace secateur
