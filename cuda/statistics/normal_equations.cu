// The normal equations of least squares: per group, sums of patch patch^T and patch target^T over all
// output cells, in f64. Patches and targets are the rows of one matrix, gathered while its products
// are summed tile by tile; chunks of cells, whose size follows from the shape, add up in order.

#include <algorithm>

#include "convolution/geometry.h"
#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace normal_equations {

constexpr int kSide = 32, kDepth = 16;  // of a tile: rows and columns, cells
constexpr int kThreads = 256;
constexpr int kEach = 2;  // rows and columns that one thread sums
constexpr int64_t kLeastChunk = 256;  // cells
// What the chunks of a slice leave, beyond which chunks grow instead.
constexpr int64_t kMostPartialBytes = 64 << 20;

struct Arguments {
  Geometry geometry;
  int64_t cells;  // of the slice
  int64_t chunk;
  const void *x, *target;
  double* partial;  // [chunk][group][unknown][unknowns and outputs of the group]
  int unknowns;

  __host__ __device__ int width() const { return unknowns + geometry.group_results(); }
};

// A row of the matrix: the patch in the order of the weights ([input][tap]), then 1, then targets.
template <class X, class Y>
__device__ __forceinline__ double element(const Arguments& a, int64_t cell, int at, int group) {
  const Geometry& g = a.geometry;
  if (at == a.unknowns - 1) return 1;
  if (at >= a.unknowns) {
    const int64_t from = cell * g.result_channels + static_cast<int64_t>(group) * g.group_results();
    return static_cast<double>(to_float(static_cast<const Y*>(a.target)[from + at - a.unknowns]));
  }
  const int64_t image = cell / g.result_pixels();
  const int within = static_cast<int>(cell % g.result_pixels());
  const int64_t from =
      g.source_pixel(within / g.result_width, within % g.result_width, at % g.taps());
  if (from < 0) return 0;
  const int64_t pixel = image * g.source_height * g.source_width + from;
  const int64_t channel = static_cast<int64_t>(group) * g.group_sources() + at / g.taps();
  return static_cast<double>(
      to_float(static_cast<const X*>(a.x)[pixel * g.source_channels + channel]));
}

struct Tiles {
  double rows[kDepth][kSide + 1], columns[kDepth][kSide + 1];  // padded against bank conflicts
};

// blocks: tiles of the upper half and of the targets, chunks, groups.
template <class X, class Y>
__global__ void __launch_bounds__(kThreads) products_kernel(Arguments a) {
  Tiles& tiles = shared<Tiles>();
  const int column_tiles = (a.width() + kSide - 1) / kSide;
  const int first_row = static_cast<int>(blockIdx.x) / column_tiles * kSide;
  const int first_column = static_cast<int>(blockIdx.x) % column_tiles * kSide;
  // What lies below the diagonal is never read.
  if (first_column + kSide <= first_row) return;
  const int group = static_cast<int>(blockIdx.z), thread = static_cast<int>(threadIdx.x);
  const int64_t start = static_cast<int64_t>(blockIdx.y) * a.chunk;
  const int64_t stop = start + a.chunk < a.cells ? start + a.chunk : a.cells;
  const int row = thread / (kSide / kEach) * kEach, column = thread % (kSide / kEach) * kEach;
  double sums[kEach][kEach] = {};
  for (int64_t first = start; first < stop; first += kDepth) {
    for (int i = thread; i < kDepth * kSide; i += kThreads) {
      const int64_t cell = first + i / kSide;
      const int own_row = first_row + i % kSide, own_column = first_column + i % kSide;
      tiles.rows[i / kSide][i % kSide] =
          cell < stop && own_row < a.unknowns ? element<X, Y>(a, cell, own_row, group) : 0;
      tiles.columns[i / kSide][i % kSide] =
          cell < stop && own_column < a.width() ? element<X, Y>(a, cell, own_column, group) : 0;
    }
    __syncthreads();
    for (int depth = 0; depth < kDepth; ++depth) {
      for (int i = 0; i < kEach; ++i) {
        for (int j = 0; j < kEach; ++j) {
          sums[i][j] =
              fma(tiles.rows[depth][row + i], tiles.columns[depth][column + j], sums[i][j]);
        }
      }
    }
    __syncthreads();
  }
  double* const to = a.partial + (static_cast<int64_t>(blockIdx.y) * a.geometry.groups + group) *
                                     a.unknowns * a.width();
  for (int i = 0; i < kEach; ++i) {
    for (int j = 0; j < kEach; ++j) {
      const int own_row = first_row + row + i, own_column = first_column + column + j;
      if (own_row >= a.unknowns || own_column >= a.width()) continue;
      to[static_cast<int64_t>(own_row) * a.width() + own_column] = sums[i][j];
    }
  }
}

// gram and cross from all slices' chunks in order; the lower half of gram mirrors the upper.
struct Combine {
  const std::byte* first;
  int64_t stride, slices, chunks;
  int64_t groups, unknowns, width;
  double *gram, *cross;
  bool accumulate;

  __device__ void operator()(int64_t i) const {
    const int64_t column = i % width, row = i / width % unknowns, group = i / width / unknowns;
    if (column < row) return;
    double sum = 0;
    for (int64_t slice = 0; slice < slices; ++slice) {
      const auto* const from = reinterpret_cast<const double*>(first + slice * stride);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        sum += from[chunk * groups * unknowns * width + i];
      }
    }
    if (column >= unknowns) {
      add(cross + (group * unknowns + row) * (width - unknowns) + column - unknowns, sum);
      return;
    }
    double* const square = gram + group * unknowns * unknowns;
    add(square + row * unknowns + column, sum);
    if (column > row) add(square + column * unknowns + row, sum);
  }

  __device__ void add(double* to, double sum) const { *to = accumulate ? *to + sum : sum; }
};

template <class X, class Y>
class NormalEquations final : public Kernel {
 public:
  NormalEquations(const ConvolutionShape& shape, int64_t slice, bool accumulate)
      : geometry_(Geometry::of(shape, false)), accumulate_(accumulate),
        unknowns_(static_cast<int>(shape.group_in() * shape.taps() + 1)),
        width_(unknowns_ + shape.group_out()) {
    const int64_t cells = slice * geometry_.result_pixels();
    const int64_t most = std::clamp<int64_t>(kMostPartialBytes / (numbers() * 8), 1, 65535);
    chunk_ = std::max(kLeastChunk, ceiling(cells, most));
    chunks_ = ceiling(cells, chunk_);
  }

  int64_t partial_bytes() const override { return chunks_ * numbers() * 8; }

  void run(const Slice& s) const override {
    const int64_t tiles = ceiling(unknowns_, kSide) * ceiling(width_, kSide);
    const dim3 blocks(blocks_for(tiles, 1), blocks_for(chunks_, 1, 65535),
                      blocks_for(geometry_.groups, 1, 65535));
    const Arguments a{geometry_, s.images * geometry_.result_pixels(), chunk_, s.inputs[0],
                      s.inputs[1], static_cast<double*>(s.partial), unknowns_};
    launch(s.stream, {blocks, {kThreads}, sizeof(Tiles)}, products_kernel<X, Y>, a);
  }

  void combine(const Partials& p) const override {
    for_each(p.stream, numbers(),
             Combine{p.first, p.stride, p.slices, chunks_, geometry_.groups, unknowns_, width_,
                     as<double>(p.outputs[0]), as<double>(p.outputs[1]), accumulate_});
  }

 private:
  int64_t numbers() const { return geometry_.groups * unknowns_ * width_; }

  const Geometry geometry_;
  const bool accumulate_;
  const int unknowns_;
  const int64_t width_;
  int64_t chunk_, chunks_;  // cells of a chunk; chunks of a whole slice
};

}  // namespace normal_equations

KernelPointer normal_equations_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  const bool accumulate = call.integer(ConvolutionShape::kInts) == 1;
  return with_number(is_bf16(*call.input(0)), [&](auto x) {
    return with_number(is_bf16(*call.input(1)), [&](auto target) -> KernelPointer {
      return std::make_unique<normal_equations::NormalEquations<decltype(x), decltype(target)>>(
          shape, call.entry.slice, accumulate);
    });
  });
}

}  // namespace secateur::cuda
