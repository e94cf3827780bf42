// Convolutions and their gradients of the data on tensor cores, as matrix products whose left side is
// gathered on its way into shared memory (implicit GEMM): result pixels x result channels, summed over
// taps and source channels in that order, whatever the grid.

#include "convolution/forward.h"
#include "convolution/tensor_tile.h"
#include "device/block.h"
#include "device/launch.h"

namespace secateur::cuda::forward {

namespace {

constexpr int kRows = 128;       // pixels of a tile, a quarter a warp
constexpr int kDepth = 4;        // vectors of taps and source channels that a stage holds
// Padded, so that the rows of a matrix that is loaded lie in different banks.
constexpr int kRowBytes = (kDepth + 1) * kCopyBytes;
constexpr int kSent = kRows * kDepth / kTensorThreads;  // vectors of the left side a thread sends
constexpr int kFour = 4;         // channels that a thread finishes at once

template <int kColumns>
struct alignas(kCopyBytes) Stage {
  unsigned char left[kRows][kRowBytes];
  unsigned char right[kColumns][kRowBytes];
};

template <int kColumns>
union Tiles {
  Stage<kColumns> stages[kTensorStages];
  float results[kRows][kColumns + kFour];
};

template <class T>
struct alignas(sizeof(T) * kFour) Four {
  T numbers[kFour];
};

// A result pixel whose sources a thread gathers.
struct Pixel {
  int64_t image;  // its first source pixel; -1 beyond the last image
  int row, column;
};

// A vector of a tap's source channels; the vectors of a product's rows are counted tap by tap.
struct TapVector {
  int tap_row = 0, tap_column = 0, vector;

  __device__ __forceinline__ void advance(int count, int per_tap, int kernel_width) {
    vector += count;
    while (vector >= per_tap) {
      vector -= per_tap;
      if (++tap_column < kernel_width) continue;
      tap_column = 0;
      ++tap_row;
    }
  }
};

// What a thread sends into shared memory, stage by stage.
template <class Products, int kColumns>
struct Sender {
  using Number = typename Products::Number;
  static constexpr int kEach = kEachVector<Number>;

  const Arguments& a;
  int group, sources, per_tap, first_channel;
  int64_t row_vectors;  // of the product
  bool aligned;
  Pixel pixels[kSent];
  TapVector at;
  int64_t next = 0;  // vector of the product that the next stage begins with

  __device__ __forceinline__ Sender(const Arguments& its)
      : a(its), group(static_cast<int>(blockIdx.z)), sources(its.geometry.group_sources()),
        per_tap((sources + kEach - 1) / kEach),
        first_channel(static_cast<int>(blockIdx.y) * kColumns),
        row_vectors(static_cast<int64_t>(its.geometry.taps()) * per_tap),
        aligned(sources % kEach == 0), at{0, 0, 0} {
    const Geometry& g = a.geometry;
    const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
#pragma unroll
    for (int i = 0; i < kSent; ++i) {
      const int64_t pixel = first + row_of(i);
      const int64_t image = pixel / g.result_pixels();
      const int within = static_cast<int>(pixel - image * g.result_pixels());
      pixels[i] = {pixel < a.pixels ? image * g.source_height * g.source_width : -1,
                   within / g.result_width, within % g.result_width};
    }
    at.advance(static_cast<int>(threadIdx.x) % kDepth, per_tap, g.kernel_width);
  }

  static __device__ __forceinline__ int row_of(int i) {
    return static_cast<int>(threadIdx.x) / kDepth + i * (kTensorThreads / kDepth);
  }

  __device__ __forceinline__ void send(Stage<kColumns>& stage) {
    const Geometry& g = a.geometry;
    const int column = static_cast<int>(threadIdx.x) % kDepth;
    const int channel = at.vector * kEach;
    const bool in_tap = at.tap_row < g.kernel_height;
    const int count = sources - channel < kEach ? sources - channel : kEach;
#pragma unroll
    for (int i = 0; i < kSent; ++i) {
      const Pixel& pixel = pixels[i];
      const int64_t from =
          in_tap && pixel.image >= 0
              ? g.source_pixel(pixel.row, pixel.column, at.tap_row, at.tap_column)
              : -1;
      const int64_t element =
          from < 0 ? 0
                   : (pixel.image + from) * g.source_channels +
                         static_cast<int64_t>(group) * sources + channel;
      send_vector(stage.left[row_of(i)] + column * kCopyBytes,
                  static_cast<const Number*>(a.source) + element, from < 0 ? 0 : count, aligned);
    }
    send_weights(stage, column);
    at.advance(kDepth, per_tap, g.kernel_width);
    next += kDepth;
  }

  __device__ __forceinline__ void send_weights(Stage<kColumns>& stage, int column) const {
    const int results = a.geometry.group_results();
    const int64_t vector = next + column;
    for (int row = row_of(0); row < kColumns; row += kTensorThreads / kDepth) {
      const bool inside = vector < row_vectors && first_channel + row < results;
      const int64_t result = static_cast<int64_t>(group) * results + first_channel + row;
      const int64_t element = inside ? (result * row_vectors + vector) * kEach : 0;
      queue_copy(stage.right[row] + column * kCopyBytes,
                 static_cast<const Number*>(a.packed) + element, inside);
    }
  }
};

// Sums of a warp: 32 pixels x kColumns channels, as matrices of 16 x 8.
template <class Products, int kColumns>
struct WarpSums {
  static constexpr int kAcross = kColumns / 8;
  float values[2][kAcross][4] = {};
  int lane = static_cast<int>(threadIdx.x) % 32, first_row = static_cast<int>(threadIdx.x) / 32 * 32;

  __device__ __forceinline__ void add(const Stage<kColumns>& stage) {
#pragma unroll
    for (int step = 0; step < kDepth / 2; ++step) {
      typename Products::Left left[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        uint32_t bits[4];
        load_matrices(bits, stage.left[first_row + i * 16 + lane % 16] +
                                (step * 2 + lane / 16) * kCopyBytes);
        left[i] = Products::left(bits);
      }
#pragma unroll
      for (int j = 0; j < kAcross; j += 2) {
        uint32_t bits[4];
        load_matrices(bits, stage.right[j * 8 + lane / 16 * 8 + lane % 8] +
                                (step * 2 + lane / 8 % 2) * kCopyBytes);
        const auto first = Products::right(bits), second = Products::right(bits + 2);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          Products::add(values[i][j], left[i], first);
          Products::add(values[i][j + 1], left[i], second);
        }
      }
    }
  }

  __device__ __forceinline__ void leave(float (&results)[kRows][kColumns + kFour]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          results[first_row + i * 16 + k / 2 * 8 + lane / 4][j * 8 + lane % 4 * 2 + k % 2] =
              values[i][j][k];
        }
      }
    }
  }
};

// Four channels of a pixel, from `channel` of the group on.
template <class R>
__device__ __forceinline__ void finish_four(const Arguments& a, int64_t pixel, int group, int channel,
                                            const Four<float>& sums) {
  const Geometry& g = a.geometry;
  const int results = g.group_results(), first = group * results + channel;
  if (results % kFour != 0) {
#pragma unroll
    for (int i = 0; i < kFour; ++i) {
      if (channel + i < results) finish<R>(a, pixel, first + i, sums.numbers[i]);
    }
    return;
  }
  const int64_t at = pixel * g.result_channels + first;
  Four<float> bias{};
  Four<R> residual{}, result;
  if (a.bias != nullptr) bias = *reinterpret_cast<const Four<float>*>(a.bias + first);
  if (a.residual != nullptr) {
    residual = *reinterpret_cast<const Four<R>*>(static_cast<const R*>(a.residual) + at);
  }
#pragma unroll
  for (int i = 0; i < kFour; ++i) {
    result.numbers[i] = stored<R>(
        finished(sums.numbers[i], bias.numbers[i], to_float(residual.numbers[i]), a.relu));
  }
  *reinterpret_cast<Four<R>*>(static_cast<R*>(a.result) + at) = result;
}

template <int kColumns>
__device__ __forceinline__ void finish_tile(const Arguments& a, const Tiles<kColumns>& tiles) {
  constexpr int kAcross = kColumns / kFour;
  const int group = static_cast<int>(blockIdx.z);
  const int column = static_cast<int>(threadIdx.x) % kAcross * kFour;
  const int channel = static_cast<int>(blockIdx.y) * kColumns + column;
  if (channel >= a.geometry.group_results()) return;
  for (int row = static_cast<int>(threadIdx.x) / kAcross; row < kRows;
       row += kTensorThreads / kAcross) {
    const int64_t pixel = static_cast<int64_t>(blockIdx.x) * kRows + row;
    if (pixel >= a.pixels) return;
    const auto& sums = *reinterpret_cast<const Four<float>*>(&tiles.results[row][column]);
    if (a.result_bf16) {
      finish_four<bfloat16>(a, pixel, group, channel, sums);
    } else {
      finish_four<float>(a, pixel, group, channel, sums);
    }
  }
}

// blocks: tiles of pixels, tiles of channels, groups. Two blocks a multiprocessor leave a thread the 255
// registers there are: sums and split factors want more than the 128 that a compiler may stop at.
template <class Products, int kColumns>
__global__ void __launch_bounds__(kTensorThreads, 2) tensor_kernel(Arguments a) {
  auto& tiles = shared<Tiles<kColumns>>();
  Sender<Products, kColumns> sender(a);
  WarpSums<Products, kColumns> sums;
  const int stages = static_cast<int>((sender.row_vectors + kDepth - 1) / kDepth);
  sum_stages(sender, tiles.stages, stages, sums);
  __syncthreads();
  sums.leave(tiles.results);
  __syncthreads();
  finish_tile(a, tiles);
}

template <class Products>
void run(cudaStream_t stream, const Arguments& a) {
  const Geometry& g = a.geometry;
  with_tile_columns(g.group_results(), [&]<int kColumns>() {
    const dim3 blocks(blocks_for(a.pixels, kRows), blocks_for(g.group_results(), kColumns, 65535),
                      blocks_for(g.groups, 1, 65535));
    launch(stream, {blocks, {kTensorThreads}, sizeof(Tiles<kColumns>)},
           tensor_kernel<Products, kColumns>, a);
  });
}

}  // namespace

void run_on_tensor_cores(cudaStream_t stream, const Arguments& a, PackedForm::Kind kind) {
  if (kind == PackedForm::Kind::bf16) {
    run<Bf16Products>(stream, a);
  } else {
    run<SplitProducts>(stream, a);
  }
}

}  // namespace secateur::cuda::forward
