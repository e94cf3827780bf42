// The numerical rank of each channel's map: how many singular values exceed max(h, w) * eps *
// sigma_max. One-sided Jacobi (Hestenes, "Inversion of Matrices by Biorthogonalization and Related
// Results", 1958): columns are turned in pairs until all are orthogonal; their lengths are then the
// singular values. A block for each map; a round turns disjoint pairs, a warp each, in the order of
// a round-robin tournament.

#include <algorithm>

#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace rank {

constexpr int kWarps = 4;
constexpr int kMostSweeps = 30;
constexpr float kEpsilon = 1.1920929e-7f;
// Columns count as orthogonal below this cosine: a few rounding errors of a dot product.
constexpr float kOrthogonal = 1e-6f;
// Maps of more numbers than this are turned in device memory.
constexpr int64_t kInShared = 96 * 96;

struct Shape {
  int height, width, channels;

  // Columns are the shorter side.
  __host__ __device__ int rows() const { return height > width ? height : width; }
  __host__ __device__ int columns() const { return height > width ? width : height; }
  __host__ __device__ int64_t numbers() const { return int64_t{height} * width; }
};

// What warps tell one another.
struct Votes {
  float largest[kWarps];
  int flags[kWarps];
};

__device__ __forceinline__ float dot(const float* a, const float* b, int rows, int lane) {
  float sum = 0;
  for (int i = lane; i < rows; i += kWarp) sum = fmaf(a[i], b[i], sum);
  return warp_sum(sum);
}

// Makes two columns orthogonal; says whether they were not.
__device__ __forceinline__ bool turn(float* p, float* q, int rows, int lane) {
  const float pp = dot(p, p, rows, lane), qq = dot(q, q, rows, lane), pq = dot(p, q, rows, lane);
  if (fabsf(pq) <= kOrthogonal * sqrtf(pp) * sqrtf(qq)) return false;
  const float zeta = (qq - pp) / (2 * pq);
  const float tangent = (zeta < 0 ? -1.0f : 1.0f) / (fabsf(zeta) + sqrtf(fmaf(zeta, zeta, 1.0f)));
  const float cosine = 1 / sqrtf(fmaf(tangent, tangent, 1.0f)), sine = cosine * tangent;
  for (int i = lane; i < rows; i += kWarp) {
    const float a = p[i], b = q[i];
    p[i] = cosine * a - sine * b;
    q[i] = fmaf(sine, a, cosine * b);
  }
  return true;
}

// The pair that plays board `board` in a round among `players`, an even number (the circle method).
struct Pair {
  int first, second;

  __device__ Pair(int players, int round, int board) {
    const int circle = players - 1;
    first = board == 0 ? circle : (round + board) % circle;
    second = (round + circle - board) % circle;
  }
};

// The largest value that any thread has, for all of them. Ends with a barrier behind it.
__device__ __forceinline__ float block_largest(Votes& votes, float own) {
  own = warp_largest(own);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) votes.largest[threadIdx.x / kWarp] = own;
  __syncthreads();
  float largest = votes.largest[0];
  for (int warp = 1; warp < kWarps; ++warp) largest = fmaxf(largest, votes.largest[warp]);
  return largest;
}

// Whether any warp says so; `own` is the same for all lanes of a warp.
__device__ __forceinline__ bool block_any(Votes& votes, bool own) {
  __syncthreads();
  if (threadIdx.x % kWarp == 0) votes.flags[threadIdx.x / kWarp] = own;
  __syncthreads();
  int any = 0;
  for (int warp = 0; warp < kWarps; ++warp) any |= votes.flags[warp];
  return any != 0;
}

__device__ void orthogonalise(Votes& votes, float* matrix, int rows, int columns) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int players = columns + columns % 2;
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    bool turned = false;
    for (int round = 0; round < players - 1; ++round) {
      for (int board = warp; board < players / 2; board += kWarps) {
        const Pair pair(players, round, board);
        // With an odd number of columns one rests.
        if (pair.first >= columns || pair.second >= columns) continue;
        float* const p = matrix + static_cast<int64_t>(pair.first) * rows;
        float* const q = matrix + static_cast<int64_t>(pair.second) * rows;
        turned |= turn(p, q, rows, lane);
      }
      __syncthreads();
    }
    if (!block_any(votes, turned)) return;
  }
}

// [column][row], scaled so that the largest number is 1, or false where a number is not finite.
template <class T>
__device__ bool load(Votes& votes, const T* picture, const Shape& g, int channel, float* matrix) {
  const int rows = g.rows();
  const bool upright = g.height >= g.width;
  float largest = 0;
  bool finite = true;
  for (int64_t i = threadIdx.x; i < g.numbers(); i += kWarps * kWarp) {
    const int row = static_cast<int>(i / g.width), column = static_cast<int>(i % g.width);
    const float value = to_float(picture[i * g.channels + channel]);
    finite = finite && fabsf(value) <= 3.402823466e38f;
    largest = fmaxf(largest, fabsf(value));
    matrix[upright ? int64_t{column} * rows + row : int64_t{row} * rows + column] = value;
  }
  if (block_any(votes, __any_sync(kWholeWarp, !finite) != 0)) return false;
  largest = block_largest(votes, largest);
  // A denormal has no reciprocal.
  for (int64_t i = threadIdx.x; largest > 0 && i < g.numbers(); i += kWarps * kWarp) {
    matrix[i] /= largest;
  }
  __syncthreads();
  return true;
}

template <class T>
__device__ int rank_of(Votes& votes, const T* picture, const Shape& g, int channel,
                       float* matrix) {
  if (!load(votes, picture, g, channel, matrix)) return -1;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int rows = g.rows(), columns = g.columns();
  orthogonalise(votes, matrix, rows, columns);
  const auto length = [&](int column) {
    const float* const at = matrix + static_cast<int64_t>(column) * rows;
    return sqrtf(dot(at, at, rows, lane));
  };
  float largest = 0;
  for (int column = warp; column < columns; column += kWarps) {
    largest = fmaxf(largest, length(column));
  }
  largest = block_largest(votes, largest);
  const float tolerance = static_cast<float>(rows) * kEpsilon * largest;
  int count = 0;
  for (int column = warp; column < columns; column += kWarps) count += length(column) > tolerance;
  __syncthreads();
  if (lane == 0) votes.flags[warp] = count;
  __syncthreads();
  int all = 0;
  for (int each = 0; each < kWarps; ++each) all += votes.flags[each];
  return all;
}

// blocks: channels, images.
template <class T, bool InShared>
__global__ void __launch_bounds__(kWarps* kWarp)
    rank_kernel(const T* x, float* ranks, Shape g, float* room) {
  const auto channel = static_cast<int>(blockIdx.x);
  const int64_t image = blockIdx.y;
  Votes& votes = shared<Votes>();
  float* const matrix = InShared ? shared_after<Votes, float>()
                                 : room + (image * g.channels + channel) * g.numbers();
  const int rank = rank_of(votes, x + image * g.numbers() * g.channels, g, channel, matrix);
  if (threadIdx.x == 0) ranks[image * g.channels + channel] = static_cast<float>(rank);
}

template <class T>
class Rank final : public Kernel {
 public:
  // Images at a time: as many as a grid allows or, in device memory, as fit a sensible scratch.
  Rank(const Shape& shape, int64_t slice) : g_(shape), in_shared_(shape.numbers() <= kInShared) {
    constexpr int64_t kRoom = int64_t{256} << 20;
    const int64_t fitting = in_shared_ ? 65535 : kRoom / (4 * g_.channels * g_.numbers());
    images_ = std::clamp<int64_t>(fitting, 1, std::min<int64_t>(slice, 65535));
  }

  int64_t scratch_bytes() const override {
    return in_shared_ ? 0 : images_ * g_.channels * g_.numbers() * 4;
  }

  void run(const Slice& s) const override {
    const size_t shared_bytes =
        in_shared_ ? sizeof(Votes) + static_cast<size_t>(g_.numbers()) * sizeof(float)
                   : sizeof(Votes);
    for (int64_t first = 0; first < s.images; first += images_) {
      const int64_t images = std::min(images_, s.images - first);
      const Grid grid{{blocks_for(g_.channels, 1), blocks_for(images, 1, 65535)},
                      {kWarps * kWarp},
                      shared_bytes};
      const T* const x = as<T>(s.inputs[0]) + first * g_.numbers() * g_.channels;
      float* const ranks = as<float>(s.outputs[0]) + first * g_.channels;
      launch(s.stream, grid, in_shared_ ? rank_kernel<T, true> : rank_kernel<T, false>, x, ranks,
             g_, static_cast<float*>(s.scratch));
    }
  }

 private:
  const Shape g_;
  const bool in_shared_;
  int64_t images_;
};

}  // namespace rank

KernelPointer rank_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  const rank::Shape shape{static_cast<int>(extents.height), static_cast<int>(extents.width),
                          static_cast<int>(extents.channels)};
  return with_number(is_bf16(*call.input(0)), [&](auto number) -> KernelPointer {
    return std::make_unique<rank::Rank<decltype(number)>>(shape, call.entry.slice);
  });
}

}  // namespace secateur::cuda
