// Vectors of f64 in which every lane belongs to another matrix.
//
// Included by one file per instruction set. Everything here has internal linkage, so that no
// function compiled for one instruction set can stand in for another's.
#pragma once

#include <cstdint>
#include <cstring>

namespace secateur::rank_kernels {
namespace {

template <int Lanes>
struct Vector;

template <>
struct Vector<2> {
  typedef double Real __attribute__((vector_size(16)));
  typedef int64_t Word __attribute__((vector_size(16)));
  typedef float Single __attribute__((vector_size(8)));
};

template <>
struct Vector<4> {
  typedef double Real __attribute__((vector_size(32)));
  typedef int64_t Word __attribute__((vector_size(32)));
  typedef float Single __attribute__((vector_size(16)));
};

template <>
struct Vector<8> {
  typedef double Real __attribute__((vector_size(64)));
  typedef int64_t Word __attribute__((vector_size(64)));
  typedef float Single __attribute__((vector_size(32)));
};

template <int Lanes>
using Real = typename Vector<Lanes>::Real;
template <int Lanes>
using Word = typename Vector<Lanes>::Word;
template <int Lanes>
using Single = typename Vector<Lanes>::Single;

constexpr int64_t kSignBit = INT64_MIN;

template <int Lanes>
inline Real<Lanes> magnitude(Real<Lanes> x) {
  return (Real<Lanes>)((Word<Lanes>)x & ~kSignBit);
}

// `size`, which is not negative, with the sign of `x`.
template <int Lanes>
inline Real<Lanes> with_sign(Real<Lanes> size, Real<Lanes> x) {
  return (Real<Lanes>)((Word<Lanes>)size | ((Word<Lanes>)x & kSignBit));
}

template <int Lanes>
inline Real<Lanes> larger(Real<Lanes> a, Real<Lanes> b) {
  return a > b ? a : b;
}

// Asks for the cache line of `x`, which is soon read or written, where a vector is a whole line (of
// shorter vectors several would ask for the same one).
template <int Lanes>
inline void fetch([[maybe_unused]] const Real<Lanes>* x) {
  if constexpr (sizeof(*x) == 64) __builtin_prefetch(x, 1);
}

template <int Lanes>
inline bool any(Word<Lanes> mask) {
  int64_t seen = 0;
  for (int lane = 0; lane < Lanes; ++lane) seen |= mask[lane];
  return seen != 0;
}

}  // namespace
}  // namespace secateur::rank_kernels
