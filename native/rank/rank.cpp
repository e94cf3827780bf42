#include "rank/rank.h"

#include <xmmintrin.h>

#include <algorithm>
#include <utility>

#include "cpu_features.h"
#include "rank/kernels.h"

namespace secateur {
namespace {

constexpr int64_t kMostElements = int64_t{1} << 32;

// Compute threads count denormals as zero, which would turn a map of denormal values into a zero
// map: while ranks are counted the floating-point mode is the standard's.
class StandardRounding {
 public:
  StandardRounding() : saved_(_mm_getcsr()) { _mm_setcsr(kDefault); }
  ~StandardRounding() { _mm_setcsr(saved_); }
  StandardRounding(const StandardRounding&) = delete;
  StandardRounding& operator=(const StandardRounding&) = delete;

 private:
  static constexpr unsigned kDefault = 0x1f80;  // all exceptions masked, nearest, denormals kept
  unsigned saved_;
};

}  // namespace

RankKernel best_rank_kernel() {
  const CpuFeatures features = cpu_features();
  if (features.avx512) return RankKernel::avx512;
  return features.avx2 ? RankKernel::avx2 : RankKernel::portable;
}

size_t rank_scratch_bytes(int rows, int cols) {
  if (rows < 1 || cols < 1 || int64_t{rows} * cols > kMostElements) return 0;
  const int height = std::max(rows, cols), width = std::min(rows, cols);
  const int64_t vectors = height * rank_kernels::row_stride(width) +
                          int64_t{rank_kernels::kScratchRows} * width;
  return static_cast<size_t>(vectors) * rank_kernels::kMostLanes * sizeof(double);
}

void numerical_ranks(const float* data, int64_t count, int rows, int cols, int64_t matrix_stride,
                     int64_t row_stride, int64_t column_stride, int32_t* ranks, void* scratch,
                     RankKernel kernel) {
  if (rank_scratch_bytes(rows, cols) == 0) {
    std::fill_n(ranks, std::max<int64_t>(count, 0), -1);
    return;
  }
  if (rows < cols) {  // a matrix and its transpose have the same singular values
    std::swap(rows, cols);
    std::swap(row_stride, column_stride);
  }
  const rank_kernels::Batch batch = {data,          count,      rows,         cols,
                                     matrix_stride, row_stride, column_stride};
  const StandardRounding rounding;
  switch (kernel) {
    case RankKernel::portable:
      return rank_kernels::ranks_portable(batch, ranks, scratch);
    case RankKernel::avx2:
      return rank_kernels::ranks_avx2(batch, ranks, scratch);
    case RankKernel::avx512:
      return rank_kernels::ranks_avx512(batch, ranks, scratch);
  }
}

}  // namespace secateur
