// Convolutions and their gradients of the data: on tensor cores where bf16 or fast f32 was asked for, in
// exact f32 otherwise, as matrix products whose left side is gathered while it is loaded (implicit GEMM):
// result pixels x result channels, summed over taps and source channels in that order, whatever the grid.

#include "convolution/forward.h"
#include "convolution/tile.h"
#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace forward {

// Weights of either form for a product of which only bf16 was asked and sources are f32.
__device__ __forceinline__ float weight_at(const Arguments& a, PackedForm::Kind kind, int group,
                                           int row, int channel) {
  const Geometry& g = a.geometry;
  const int sources = g.group_sources(), results = g.group_results();
  if (kind == PackedForm::Kind::exact) {
    const int64_t at = static_cast<int64_t>(group) * g.taps() * sources + row;
    return static_cast<const float*>(a.packed)[at * results + channel];
  }
  constexpr int kEach = 8;
  const int padded = (sources + kEach - 1) / kEach * kEach;
  const int64_t at = static_cast<int64_t>(group) * results + channel;
  return to_float(static_cast<const bfloat16*>(
      a.packed)[(at * g.taps() + row / sources) * padded + row % sources]);
}

// Loads rows [first, first + kTileDepth) of the product: `pixel` is this thread's, of all images.
template <class S>
__device__ __forceinline__ void load_sources(const Arguments& a, Tiles& tiles, int64_t pixel,
                                             int first, int group) {
  const Geometry& g = a.geometry;
  const int sources = g.group_sources(), rows = g.taps() * sources;
  const int column = static_cast<int>(threadIdx.x) % kTileRows;
  const bool inside = pixel < a.pixels;
  const int64_t image = inside ? pixel / g.result_pixels() : 0;
  const int within = static_cast<int>(inside ? pixel % g.result_pixels() : 0);
  for (int depth = static_cast<int>(threadIdx.x) / kTileRows; depth < kTileDepth;
       depth += kTileThreads / kTileRows) {
    const int row = first + depth;
    float value = 0;
    if (inside && row < rows) {
      const int tap = row / sources, channel = group * sources + row % sources;
      const int64_t from =
          g.source_pixel(within / g.result_width, within % g.result_width, tap);
      if (from >= 0) {
        const int64_t at = image * g.source_height * g.source_width + from;
        value = to_float(static_cast<const S*>(a.source)[at * g.source_channels + channel]);
      }
    }
    tiles.left[depth][column] = value;
  }
}

__device__ __forceinline__ void load_weights(const Arguments& a, PackedForm::Kind kind,
                                             Tiles& tiles, int first, int channel, int group) {
  const Geometry& g = a.geometry;
  const int rows = g.taps() * g.group_sources(), results = g.group_results();
  const int column = static_cast<int>(threadIdx.x) % kTileColumns;
  for (int depth = static_cast<int>(threadIdx.x) / kTileColumns; depth < kTileDepth;
       depth += kTileThreads / kTileColumns) {
    const int row = first + depth;
    const bool inside = row < rows && channel + column < results;
    tiles.right[depth][column] = inside ? weight_at(a, kind, group, row, channel + column) : 0;
  }
}

// blocks: tiles of pixels, tiles of channels, groups.
template <class S, class R>
__global__ void __launch_bounds__(kTileThreads) tiled_kernel(Arguments a, PackedForm::Kind kind) {
  Tiles& tiles = shared<Tiles>();
  const Geometry& g = a.geometry;
  const int group = static_cast<int>(blockIdx.z);
  const int64_t first_pixel = static_cast<int64_t>(blockIdx.x) * kTileRows;
  const int first_channel = static_cast<int>(blockIdx.y) * kTileColumns;
  const int thread = static_cast<int>(threadIdx.x);
  TileSums sums(thread);
  const int rows = g.taps() * g.group_sources();
  for (int first = 0; first < rows; first += kTileDepth) {
    load_sources<S>(a, tiles, first_pixel + thread % kTileRows, first, group);
    load_weights(a, kind, tiles, first, first_channel, group);
    __syncthreads();
    sums.add_products(tiles);
    __syncthreads();
  }
  for (int i = 0; i < kTileEach; ++i) {
    for (int j = 0; j < kTileEach; ++j) {
      const int64_t pixel = first_pixel + sums.row + i;
      const int channel = first_channel + sums.column + j;
      if (pixel >= a.pixels || channel >= g.group_results()) continue;
      finish<R>(a, pixel, group * g.group_results() + channel, sums.values[i][j]);
    }
  }
}

// For groups of few channels, depthwise filters among them: a thread for every result.
template <class S, class R>
struct Direct {
  Arguments a;

  __device__ void operator()(int64_t i) const {
    const Geometry& g = a.geometry;
    const int channel = static_cast<int>(i % g.result_channels);
    const int64_t pixel = i / g.result_channels;
    const int64_t image = pixel / g.result_pixels();
    const int within = static_cast<int>(pixel % g.result_pixels());
    const int sources = g.group_sources(), results = g.group_results();
    const int group = channel / results;
    const float* weight = static_cast<const float*>(a.packed) +
                          static_cast<int64_t>(group) * g.taps() * sources * results +
                          channel % results;
    float sum = 0;
    for (int tap = 0; tap < g.taps(); ++tap, weight += static_cast<int64_t>(sources) * results) {
      const int64_t from = g.source_pixel(within / g.result_width, within % g.result_width, tap);
      if (from < 0) continue;
      const int64_t at = image * g.source_height * g.source_width + from;
      const S* const source = static_cast<const S*>(a.source) + at * g.source_channels +
                              static_cast<int64_t>(group) * sources;
      for (int c = 0; c < sources; ++c) {
        sum = fmaf(to_float(source[c]), weight[static_cast<int64_t>(c) * results], sum);
      }
    }
    finish<R>(a, pixel, channel, sum);
  }
};

template <class S, class R>
void run(cudaStream_t stream, const Arguments& a, PackedForm::Kind kind) {
  const Geometry& g = a.geometry;
  if (few_results(g.groups, g.group_results())) {
    for_each(stream, a.pixels * g.result_channels, Direct<S, R>{a});
    return;
  }
  const dim3 blocks(blocks_for(a.pixels, kTileRows),
                    blocks_for(g.group_results(), kTileColumns, 65535),
                    blocks_for(g.groups, 1, 65535));
  launch(stream, {blocks, {kTileThreads}, sizeof(Tiles)}, tiled_kernel<S, R>, a, kind);
}

// Tensor cores take sources of the form's own type.
bool suits_tensor_cores(const Arguments& a, PackedForm::Kind kind) {
  return kind != PackedForm::Kind::exact && a.source_bf16 == (kind == PackedForm::Kind::bf16);
}

void run(const Slice& slice, Arguments a, PackedForm::Kind kind) {
  a.pixels = slice.images * a.geometry.result_pixels();
  a.source = slice.inputs[0];
  a.packed = slice.inputs[1];
  a.result = slice.outputs[0];
  if (a.pixels == 0) return;
  if (suits_tensor_cores(a, kind)) return run_on_tensor_cores(slice.stream, a, kind);
  with_number(a.source_bf16, [&](auto source) {
    with_number(a.result_bf16, [&](auto result) {
      run<decltype(source), decltype(result)>(slice.stream, a, kind);
    });
  });
}

// What a call says beside its values' places.
Arguments arguments_of(const Call& call, const ConvolutionShape& shape, bool backward,
                       PackedForm::Kind kind) {
  Arguments a{};
  a.geometry = Geometry::of(shape, backward);
  a.source_bf16 = is_bf16(*call.input(0));
  a.result_bf16 = is_bf16(*call.output(0));
  if (kind == PackedForm::Kind::tf32 && a.source_bf16) {
    call.refuse("expected an f32 picture for weights that are packed for f32, found another.");
  }
  return a;
}

}  // namespace forward

KernelPointer convolution_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  const PackedForm::Kind kind = PackedForm::of(call, shape, false).kind;
  const Value& y = *call.output(0);
  if (const Value* residual = call.input(3); residual != nullptr && residual->dtype != y.dtype) {
    call.refuse("expected the residual '" + residual->name +
                "' to have the type of y, found another.");
  }
  forward::Arguments a = forward::arguments_of(call, shape, false, kind);
  a.relu = call.integer(ConvolutionShape::kInts) == 1;
  return simple_kernel([=](const Slice& slice) {
    forward::Arguments own = a;
    own.bias = as<float>(slice.inputs[2]);
    own.residual = slice.inputs[3];
    forward::run(slice, own, kind);
  });
}

KernelPointer convolution_backward_data_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  const PackedForm::Kind kind = PackedForm::of(call, shape, true).kind;
  const forward::Arguments a = forward::arguments_of(call, shape, true, kind);
  return simple_kernel([=](const Slice& slice) { forward::run(slice, a, kind); });
}

}  // namespace secateur::cuda
