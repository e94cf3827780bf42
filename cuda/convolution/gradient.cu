// Gradients of convolution weights: per chunk of result pixels, products of gathered sources and dy, on
// tensor cores where bf16 or fast f32 was asked for, kept as [group][tap and source channel][output] f32;
// chunks add up in f64. The size of a chunk follows from the shape, so results do not depend on the grid.

#include <algorithm>
#include <type_traits>

#include "convolution/gradient.h"
#include "convolution/pack.h"
#include "convolution/tile.h"
#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"
#include "program/precision.h"

namespace secateur::cuda {

namespace gradient {

constexpr int64_t kLeastChunk = 256;  // pixels
// What the chunks of a slice leave, beyond which chunks grow instead.
constexpr int64_t kMostPartialBytes = 32 << 20;

// x of `row`, a tap and a source channel of the group, as result pixel `pixel` reads it.
template <class X>
__device__ __forceinline__ float source_at(const Arguments& a, int64_t pixel, int row, int group) {
  const Geometry& g = a.geometry;
  const int sources = g.group_sources(), tap = row / sources;
  const int64_t image = pixel / g.result_pixels();
  const int within = static_cast<int>(pixel % g.result_pixels());
  const int64_t from = g.source_pixel(within / g.result_width, within % g.result_width, tap);
  if (from < 0) return 0;
  const int64_t at = image * g.source_height * g.source_width + from;
  return to_float(static_cast<const X*>(a.x)[at * g.source_channels +
                                             static_cast<int64_t>(group) * sources +
                                             row % sources]);
}

// blocks: tiles of outputs and rows, chunks, groups.
template <class X, class Y>
__global__ void __launch_bounds__(kTileThreads) tiled_kernel(Arguments a) {
  Tiles& tiles = shared<Tiles>();
  const Geometry& g = a.geometry;
  const int rows = g.taps() * g.group_sources(), outputs = g.group_results();
  const int row_tiles = (rows + kTileRows - 1) / kTileRows;
  const int first_row = static_cast<int>(blockIdx.x) % row_tiles * kTileRows;
  const int first_output = static_cast<int>(blockIdx.x) / row_tiles * kTileColumns;
  const int group = static_cast<int>(blockIdx.z);
  const int64_t start = static_cast<int64_t>(blockIdx.y) * a.chunk;
  const int64_t stop = start + a.chunk < a.pixels ? start + a.chunk : a.pixels;
  const int thread = static_cast<int>(threadIdx.x);
  TileSums sums(thread);
  for (int64_t first = start; first < stop; first += kTileDepth) {
    for (int i = thread; i < kTileDepth * kTileRows; i += kTileThreads) {
      const int64_t pixel = first + i / kTileRows;
      const int own = first_row + i % kTileRows;
      tiles.left[i / kTileRows][i % kTileRows] =
          pixel < stop && own < rows ? source_at<X>(a, pixel, own, group) : 0;
    }
    for (int i = thread; i < kTileDepth * kTileColumns; i += kTileThreads) {
      const int64_t pixel = first + i / kTileColumns;
      const int own = first_output + i % kTileColumns;
      const int64_t at = pixel * g.result_channels + static_cast<int64_t>(group) * outputs + own;
      tiles.right[i / kTileColumns][i % kTileColumns] =
          pixel < stop && own < outputs ? to_float(static_cast<const Y*>(a.dy)[at]) : 0;
    }
    __syncthreads();
    sums.add_products(tiles);
    __syncthreads();
  }
  float* const to =
      a.partial + (static_cast<int64_t>(blockIdx.y) * g.groups + group) * rows * outputs;
  for (int i = 0; i < kTileEach; ++i) {
    for (int j = 0; j < kTileEach; ++j) {
      const int own_row = first_row + sums.row + i, output = first_output + sums.column + j;
      if (own_row >= rows || output >= outputs) continue;
      to[static_cast<int64_t>(own_row) * outputs + output] = sums.values[i][j];
    }
  }
}

// For groups of few outputs, depthwise filters among them: a thread for every weight and chunk.
template <class X, class Y>
struct Direct {
  Arguments a;

  __device__ void operator()(int64_t i) const {
    const Geometry& g = a.geometry;
    const int rows = g.taps() * g.group_sources(), outputs = g.group_results();
    const int output = static_cast<int>(i % outputs), row = static_cast<int>(i / outputs % rows);
    const int group = static_cast<int>(i / outputs / rows % g.groups);
    const int64_t start = i / outputs / rows / g.groups * a.chunk;
    const int64_t stop = start + a.chunk < a.pixels ? start + a.chunk : a.pixels;
    float sum = 0;
    for (int64_t pixel = start; pixel < stop; ++pixel) {
      const int64_t at = pixel * g.result_channels + static_cast<int64_t>(group) * outputs + output;
      sum = fmaf(source_at<X>(a, pixel, row, group), to_float(static_cast<const Y*>(a.dy)[at]), sum);
    }
    a.partial[i] = sum;
  }
};

// Sums of dy over each chunk: [chunk][output] f64.
template <class Y>
struct Bias {
  const Y* dy;
  int64_t pixels, chunk, outputs;
  double* partial;

  __device__ void operator()(int64_t i) const {
    const int64_t output = i % outputs, start = i / outputs * chunk;
    const int64_t stop = start + chunk < pixels ? start + chunk : pixels;
    double sum = 0;
    for (int64_t pixel = start; pixel < stop; ++pixel) {
      sum += static_cast<double>(to_float(dy[pixel * outputs + output]));
    }
    partial[i] = sum;
  }
};

// dw [out, in / groups, tap] from all slices' chunks in order.
struct CombineWeights {
  const std::byte* first;
  int64_t stride, slices, chunks;
  int64_t taps, inputs, outputs, groups;  // channels of a group
  float* dw;

  __device__ void operator()(int64_t i) const {
    const int64_t output = i % outputs, row = i / outputs % (taps * inputs);
    const int64_t group = i / outputs / (taps * inputs), all = groups * taps * inputs * outputs;
    double sum = 0;
    for (int64_t slice = 0; slice < slices; ++slice) {
      const auto* const from = reinterpret_cast<const float*>(first + slice * stride);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        sum += static_cast<double>(from[chunk * all + i]);
      }
    }
    const int64_t tap = row / inputs, input = row % inputs;
    dw[((group * outputs + output) * inputs + input) * taps + tap] = static_cast<float>(sum);
  }
};

struct CombineBias {
  const std::byte* first;  // of slice 0's biases
  int64_t stride, slices, chunks, outputs;
  float* db;

  __device__ void operator()(int64_t output) const {
    double sum = 0;
    for (int64_t slice = 0; slice < slices; ++slice) {
      const auto* const from = reinterpret_cast<const double*>(first + slice * stride);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += from[chunk * outputs + output];
    }
    db[output] = static_cast<float>(sum);
  }
};

template <class X, class Y>
class WeightsGradient final : public Kernel {
 public:
  WeightsGradient(const ConvolutionShape& shape, int64_t slice, bool bias, bool tensor_cores)
      : geometry_(Geometry::of(shape, false)), bias_(bias), tensor_cores_(tensor_cores),
        weights_(shape.groups * shape.taps() * shape.group_in() * shape.group_out()),
        rows_(shape.taps() * shape.group_in()) {
    const int64_t pixels = slice * geometry_.result_pixels();
    const int64_t most =
        std::clamp<int64_t>(kMostPartialBytes / (weights_ * 4), 1, 65535);
    chunk_ = std::max(kLeastChunk, ceiling(pixels, most));
    chunks_ = ceiling(pixels, chunk_);
  }

  int64_t partial_bytes() const override {
    return bias_offset() + (bias_ ? chunks_ * geometry_.result_channels * 8 : 0);
  }

  void run(const Slice& slice) const override {
    const Geometry& g = geometry_;
    auto* const partial = static_cast<std::byte*>(slice.partial);
    const Arguments a{g, slice.images * g.result_pixels(), chunk_, slice.inputs[0],
                      slice.inputs[1], reinterpret_cast<float*>(partial)};
    if (few_results(g.groups, g.group_results())) {
      for_each(slice.stream, chunks_ * weights_, Direct<X, Y>{a});
    } else if (tensor_cores_) {
      run_on_tensor_cores(slice.stream, a, chunks_, std::is_same_v<X, bfloat16>);
    } else {
      const int64_t tiles = ceiling(rows_, kTileRows) * ceiling(g.group_results(), kTileColumns);
      const dim3 blocks(blocks_for(tiles, 1), blocks_for(chunks_, 1, 65535),
                        blocks_for(g.groups, 1, 65535));
      launch(slice.stream, {blocks, {kTileThreads}, sizeof(Tiles)}, tiled_kernel<X, Y>, a);
    }
    if (!bias_) return;
    for_each(slice.stream, chunks_ * g.result_channels,
             Bias<Y>{as<Y>(slice.inputs[1]), a.pixels, chunk_, g.result_channels,
                     reinterpret_cast<double*>(partial + bias_offset())});
  }

  void combine(const Partials& p) const override {
    const Geometry& g = geometry_;
    for_each(p.stream, weights_,
             CombineWeights{p.first, p.stride, p.slices, chunks_, g.taps(), g.group_sources(),
                            g.group_results(), g.groups, as<float>(p.outputs[0])});
    if (!bias_) return;
    for_each(p.stream, g.result_channels,
             CombineBias{p.first + bias_offset(), p.stride, p.slices, chunks_, g.result_channels,
                         as<float>(p.outputs[1])});
  }

 private:
  int64_t bias_offset() const { return ceiling(chunks_ * weights_ * 4, 256) * 256; }

  const Geometry geometry_;
  const bool bias_, tensor_cores_;
  const int64_t weights_, rows_;
  int64_t chunk_, chunks_;  // pixels of a chunk; chunks of a whole slice
};

}  // namespace gradient

KernelPointer convolution_backward_weights_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  const Precision precision = parse_precision(call.integer(ConvolutionShape::kInts));
  return with_number(is_bf16(*call.input(0)), [&](auto x) {
    return with_number(is_bf16(*call.input(1)), [&](auto y) -> KernelPointer {
      using X = decltype(x);
      using Y = decltype(y);
      const Precision own = std::is_same_v<X, bfloat16> ? Precision::bf16 : Precision::f32_fast;
      return std::make_unique<gradient::WeightsGradient<X, Y>>(
          shape, call.entry.slice, call.output(1) != nullptr,
          std::is_same_v<X, Y> && precision == own);
    });
  });
}

}  // namespace secateur::cuda
