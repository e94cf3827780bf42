// Ranks of four matrices at a time with AVX2 and FMA.
#include <immintrin.h>

#include "rank/kernels.h"
#include "rank/lanes.h"

namespace secateur::rank_kernels {
namespace {
inline Real<4> square_root(Real<4> x) { return (Real<4>)_mm256_sqrt_pd((__m256d)x); }
inline Real<4> widen(Single<4> x) { return (Real<4>)_mm256_cvtps_pd((__m128)x); }
}  // namespace
}  // namespace secateur::rank_kernels

#include "rank/batch.h"

namespace secateur::rank_kernels {
void ranks_avx2(const Batch& batch, int32_t* ranks, void* scratch) {
  ranks_in_lanes<4>(batch, ranks, scratch);
}
}  // namespace secateur::rank_kernels
