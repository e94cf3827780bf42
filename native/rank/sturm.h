// How many singular values of a bidiagonal matrix exceed a tolerance relative to the largest, one
// matrix per lane.
#pragma once

#include "rank/lanes.h"

namespace secateur::rank_kernels {
namespace {

template <int Lanes>
struct Bidiagonal {
  const Real<Lanes>* diagonal;  // squares
  const Real<Lanes>* upper;     // squares
  int size;
};

// Counts are whole numbers kept as reals: not every x86-64 compares 64-bit integers in vectors.
template <int Lanes>
struct Counts {
  Real<Lanes> first, second;
};

// Counts the eigenvalues of B^T B above `first` and above `second`: the positive pivots of
// B^T B - shift (Sylvester's law of inertia), by the stationary qd recurrence, which never forms
// B^T B and so does not lose the small singular values (Fernando & Parlett, "Accurate singular
// values and differential qd algorithms", 1994). Both shifts go together because each is a chain of
// divisions that waits for itself.
template <int Lanes>
inline Counts<Lanes> count_above(const Bidiagonal<Lanes>& b, Real<Lanes> first, Real<Lanes> second,
                                 Real<Lanes> smallest_pivot) {
  Counts<Lanes> above = {};
  const Real<Lanes> zero = {}, one = zero + 1;
  Real<Lanes> s = -first, t = -second;
  for (int i = 0; i < b.size; ++i) {
    Real<Lanes> p = b.diagonal[i] + s, q = b.diagonal[i] + t;
    // An eigenvalue equal to the shift counts as not above it, as in LAPACK's dlaebz.
    p = magnitude<Lanes>(p) < smallest_pivot ? -smallest_pivot : p;
    q = magnitude<Lanes>(q) < smallest_pivot ? -smallest_pivot : q;
    above.first += p > 0 ? one : zero;
    above.second += q > 0 ? one : zero;
    s = s / p * b.upper[i] - first;
    t = t / q * b.upper[i] - second;
  }
  return above;
}

// The number of singular values above `tolerance` times the largest.
//
// The largest is known at once within a factor sqrt(2) (longest row or column of B from below,
// ||B||_1 ||B||_inf from above). Where both ends of that interval give the same count, that is it;
// only lanes with a singular value near the tolerance have the interval bisected further.
template <int Lanes>
Real<Lanes> count_significant(const Bidiagonal<Lanes>& b, double tolerance) {
  Real<Lanes> low = b.diagonal[0] + b.upper[0];  // all squared
  for (int i = 1; i < b.size; ++i) {
    low = larger<Lanes>(low, b.diagonal[i] + larger<Lanes>(b.upper[i], b.upper[i - 1]));
  }
  // Rounding in B may leave its longest row a little longer than the largest singular value.
  low *= 1 - 1e-13;
  Real<Lanes> high = low * (2 + 4e-13);
  const Real<Lanes> smallest_pivot = low * 1e-40;
  const double squared = tolerance * tolerance;

  const Counts<Lanes> ends = count_above<Lanes>(b, low * squared, high * squared, smallest_pivot);
  Real<Lanes> at_low = ends.first, at_high = ends.second;
  constexpr int kBisections = 46;  // until the interval is as narrow as f64 rounding
  for (int i = 0; i < kBisections; ++i) {
    const Word<Lanes> open = at_low != at_high;
    if (!any<Lanes>(open)) break;
    const Real<Lanes> middle = (low + high) * 0.5;
    const Counts<Lanes> counts = count_above<Lanes>(b, middle, middle * squared, smallest_pivot);
    const Word<Lanes> raise = open & (counts.first > 0), lower = open & (counts.first <= 0);
    low = raise ? middle : low;
    at_low = raise ? counts.second : at_low;
    high = lower ? middle : high;
    at_high = lower ? counts.second : at_high;
  }
  const Real<Lanes> none = {};
  return low > 0 ? at_low : none;
}

}  // namespace
}  // namespace secateur::rank_kernels
