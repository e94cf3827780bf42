// Ranks of two matrices at a time with what every x86-64 has.
#include <emmintrin.h>

#include "rank/kernels.h"
#include "rank/lanes.h"

namespace secateur::rank_kernels {
namespace {
inline Real<2> square_root(Real<2> x) { return (Real<2>)_mm_sqrt_pd((__m128d)x); }
inline Real<2> widen(Single<2> x) { return __builtin_convertvector(x, Real<2>); }
}  // namespace
}  // namespace secateur::rank_kernels

#include "rank/batch.h"

namespace secateur::rank_kernels {
void ranks_portable(const Batch& batch, int32_t* ranks, void* scratch) {
  ranks_in_lanes<2>(batch, ranks, scratch);
}
}  // namespace secateur::rank_kernels
