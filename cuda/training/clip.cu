// How far a step's gradients are shortened (Pascanu, Mikolov & Bengio, "On the difficulty of training
// recurrent neural networks", arXiv 1211.5063).

#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace clip {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 8192;  // elements of a block

struct Sums {
  double warps[kThreads / kWarp];
};

// The sum over the block, for thread 0: warps first, then one after another.
__device__ __forceinline__ double block_sum(double own) {
  Sums& sums = shared<Sums>();
  own = warp_sum(own);
  if (threadIdx.x % kWarp == 0) sums.warps[threadIdx.x / kWarp] = own;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; threadIdx.x == 0 && warp < kThreads / kWarp; ++warp) sum += sums.warps[warp];
  return sum;
}

__global__ void __launch_bounds__(kThreads)
    chunks_kernel(const float* gradient, int64_t count, double* chunks) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kChunk;
  const int64_t last = first + kChunk < count ? first + kChunk : count;
  double own = 0;
  for (int64_t i = first + threadIdx.x; i < last; i += kThreads) {
    const auto value = static_cast<double>(gradient[i]);
    own = fma(value, value, own);
  }
  const double sum = block_sum(own);
  if (threadIdx.x == 0) chunks[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    total_kernel(const double* chunks, int64_t count, const double* squares, double* total) {
  double own = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) own += chunks[i];
  const double sum = block_sum(own);
  if (threadIdx.x == 0) *total = squares == nullptr ? sum : *squares + sum;
}

class SumSquares final : public Kernel {
 public:
  explicit SumSquares(int64_t count) : count_(count), chunks_(ceiling(count, kChunk)) {}

  int64_t scratch_bytes() const override {
    return chunks_ * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& s) const override {
    auto* const chunks = static_cast<double*>(s.scratch);
    launch(s.stream, {{blocks_for(chunks_, 1)}, {kThreads}, sizeof(Sums)}, chunks_kernel,
           as<float>(s.inputs[0]), count_, chunks);
    launch(s.stream, {{1}, {kThreads}, sizeof(Sums)}, total_kernel, chunks, chunks_,
           as<double>(s.inputs[1]), as<double>(s.outputs[0]));
  }

 private:
  const int64_t count_, chunks_;
};

struct ClipScale {
  const double* squares;
  float* scale;
  double norm;

  __device__ void operator()(int64_t) const {
    // Of a NaN, NaN: the loss of the next step shows it.
    const double wanted = norm / (sqrt(*squares) + 1e-6);
    *scale = wanted > 1 ? 1.0f : static_cast<float>(wanted);
  }
};

}  // namespace clip

KernelPointer sum_squares_kernel(const Call& call) {
  return std::make_unique<clip::SumSquares>(call.input(0)->elements());
}

KernelPointer clip_scale_kernel(const Call& call) {
  const double norm = call.instruction.floats[0];
  return simple_kernel([=](const Slice& s) {
    for_each(s.stream, 1,
             clip::ClipScale{as<double>(s.inputs[0]), as<float>(s.outputs[0]), norm});
  });
}

}  // namespace secateur::cuda
