// Ranks of eight matrices at a time with AVX-512.
#include <immintrin.h>

#include "rank/kernels.h"
#include "rank/lanes.h"

namespace secateur::rank_kernels {
namespace {
inline Real<8> square_root(Real<8> x) { return (Real<8>)_mm512_maskz_sqrt_pd(0xff, (__m512d)x); }
inline Real<8> widen(Single<8> x) { return (Real<8>)_mm512_maskz_cvtps_pd(0xff, (__m256)x); }
}  // namespace
}  // namespace secateur::rank_kernels

#include "rank/batch.h"

namespace secateur::rank_kernels {
void ranks_avx512(const Batch& batch, int32_t* ranks, void* scratch) {
  ranks_in_lanes<8>(batch, ranks, scratch);
}
}  // namespace secateur::rank_kernels
