// The rank instruction: numerical ranks of every channel's map, on top of native/rank.

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/simd/vector_kernels.h"
#include "rank/rank.h"

namespace secateur {

namespace {

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

class Rank final : public Kernel {
 public:
  Rank(const Extents& extents, bool bf16)
      : vectors_(vector_kernels()), kernel_(best_rank_kernel()), extents_(extents), bf16_(bf16),
        rank_bytes_(aligned(static_cast<int64_t>(rank_scratch_bytes(rows(), columns())))) {}

  // Ranks, the picture as f32, and what the ranks need.
  int64_t scratch_bytes() const override { return rank_bytes_ + integer_bytes() + picture_bytes(); }

  void run(const Slice& slice) const override {
    auto* const scratch = static_cast<std::byte*>(slice.scratch);
    auto* const ranks = reinterpret_cast<int32_t*>(scratch + rank_bytes_);
    auto* const wide = reinterpret_cast<float*>(scratch + rank_bytes_ + integer_bytes());
    for (int64_t image = 0; image < slice.images; ++image) {
      const int64_t first = image * extents_.elements();
      const float* x = static_cast<const float*>(slice.inputs[0]) + first;
      if (bf16_) {
        vectors_.widen(static_cast<const bfloat16*>(slice.inputs[0]) + first, extents_.elements(),
                       wide);
        x = wide;
      }
      numerical_ranks(x, extents_.channels, rows(), columns(), 1,
                      extents_.width * extents_.channels, extents_.channels, ranks, scratch,
                      kernel_);
      float* const to = static_cast<float*>(slice.outputs[0]) + image * extents_.channels;
      std::copy_n(ranks, extents_.channels, to);
    }
  }

 private:
  int rows() const { return static_cast<int>(extents_.height); }
  int columns() const { return static_cast<int>(extents_.width); }
  int64_t integer_bytes() const { return aligned(extents_.channels * 4); }
  int64_t picture_bytes() const { return bf16_ ? extents_.elements() * 4 : 0; }

  const VectorKernels& vectors_;
  const RankKernel kernel_;
  const Extents extents_;
  const bool bf16_;
  const int64_t rank_bytes_;
};

}  // namespace

KernelPointer rank_kernel(const Call& call) {
  return std::make_unique<Rank>(call.input_extents(0), is_bf16(*call.input(0)));
}

}  // namespace secateur
