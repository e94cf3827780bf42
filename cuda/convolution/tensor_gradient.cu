// Gradients of convolution weights on tensor cores: taps and source channels x outputs, summed over the
// result pixels of a chunk in their order.

#include "convolution/gradient.h"
#include "convolution/tensor_tile.h"
#include "device/block.h"
#include "device/launch.h"

namespace secateur::cuda::gradient {

namespace {

constexpr int kRows = 64;  // taps and source channels of a tile, in whole vectors of a tap's channels
// Result pixels of a stage: as many as keep rows of both kinds of numbers equally long.
template <class Number>
constexpr int kPixels = 64 / static_cast<int>(sizeof(Number));

// Padded so that what a warp reads at once lies in different banks: rows of a matrix of bf16 that is
// transposed on the way, or f32 of four pixels.
template <class Number>
constexpr int kPadding = sizeof(Number) == 2 ? kCopyBytes : 32;
template <class Number, int kNumbers>
constexpr int kRowBytes = kNumbers * static_cast<int>(sizeof(Number)) + kPadding<Number>;

template <class Number, int kColumns>
struct alignas(kCopyBytes) Stage {
  unsigned char left[kPixels<Number>][kRowBytes<Number, kRows>];
  unsigned char right[kPixels<Number>][kRowBytes<Number, kColumns>];
};

// A number of pixels, as images, rows and columns.
struct Distance {
  int64_t images;
  int rows, columns;
};

__device__ __forceinline__ Distance distance(const Geometry& g, int64_t pixels) {
  const int64_t images = pixels / g.result_pixels();
  const int within = static_cast<int>(pixels - images * g.result_pixels());
  return {images, within / g.result_width, within % g.result_width};
}

__device__ __forceinline__ void advance(const Geometry& g, Distance& at, const Distance& by) {
  at.columns += by.columns;
  const bool next_row = at.columns >= g.result_width;
  if (next_row) at.columns -= g.result_width;
  at.rows += by.rows + next_row;
  const bool next_image = at.rows >= g.result_height;
  if (next_image) at.rows -= g.result_height;
  at.images += by.images + next_image;
}

// What a thread sends into shared memory, stage by stage.
template <class Number, int kColumns>
struct Sender {
  static constexpr int kEach = kEachVector<Number>;
  static constexpr int kLeftVectors = kRows / kEach, kRightVectors = kColumns / kEach;
  static constexpr int kPerStage = kPixels<Number>;
  static constexpr int kSent = kPerStage * kLeftVectors / kTensorThreads;

  const Arguments& a;
  int group, sources, outputs, first_output;
  bool left_aligned, right_aligned;
  int tap, channel;       // of the vector of sources that it gathers
  int64_t next, stop;     // pixels
  Distance at[kSent], step;

  __device__ __forceinline__ Sender(const Arguments& its, int first_vector, int its_first_output)
      : a(its), group(static_cast<int>(blockIdx.z)), sources(its.geometry.group_sources()),
        outputs(its.geometry.group_results()), first_output(its_first_output),
        left_aligned(sources % kEach == 0), right_aligned(outputs % kEach == 0),
        next(static_cast<int64_t>(blockIdx.y) * its.chunk),
        stop(next + its.chunk < its.pixels ? next + its.chunk : its.pixels),
        step(distance(its.geometry, kPerStage)) {
    const int per_tap = (sources + kEach - 1) / kEach;
    const int vector = first_vector + static_cast<int>(threadIdx.x) % kLeftVectors;
    tap = vector / per_tap;
    channel = vector % per_tap * kEach;
#pragma unroll
    for (int i = 0; i < kSent; ++i) at[i] = distance(a.geometry, next + left_row(i));
  }

  static __device__ __forceinline__ int left_row(int i) {
    return static_cast<int>(threadIdx.x) / kLeftVectors + i * (kTensorThreads / kLeftVectors);
  }

  __device__ __forceinline__ void send(Stage<Number, kColumns>& stage) {
    const Geometry& g = a.geometry;
    const int column = static_cast<int>(threadIdx.x) % kLeftVectors;
    const int count = sources - channel < kEach ? sources - channel : kEach;
#pragma unroll
    for (int i = 0; i < kSent; ++i) {
      const bool inside = next + left_row(i) < stop && tap < g.taps();
      const int64_t from = inside ? g.source_pixel(at[i].rows, at[i].columns, tap) : -1;
      const int64_t pixel = at[i].images * g.source_height * g.source_width + from;
      const int64_t element =
          from < 0 ? 0
                   : pixel * g.source_channels + static_cast<int64_t>(group) * sources + channel;
      send_vector(stage.left[left_row(i)] + column * kCopyBytes,
                  static_cast<const Number*>(a.x) + element, from < 0 ? 0 : count, left_aligned);
      advance(g, at[i], step);
    }
    send_outputs(stage);
    next += kPerStage;
  }

  __device__ __forceinline__ void send_outputs(Stage<Number, kColumns>& stage) const {
    const int column = static_cast<int>(threadIdx.x) % kRightVectors;
    const int own = first_output + column * kEach;
    const int count = outputs - own < kEach ? outputs - own : kEach;
    for (int row = static_cast<int>(threadIdx.x) / kRightVectors; row < kPerStage;
         row += kTensorThreads / kRightVectors) {
      const bool inside = next + row < stop && count > 0;
      const int64_t element = inside ? (next + row) * a.geometry.result_channels +
                                           static_cast<int64_t>(group) * outputs + own
                                     : 0;
      send_vector(stage.right[row] + column * kCopyBytes,
                  static_cast<const Number*>(a.dy) + element, inside ? count : 0, right_aligned);
    }
  }
};

// The left matrix of 16 rows from `first` on, of the pixels of a step, and the right one of 16 columns.
template <int kColumns>
__device__ __forceinline__ void load_factors(const Stage<bfloat16, kColumns>& stage, int step,
                                             int first, uint32_t (&bits)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  load_transposed(bits, stage.left[step * 16 + lane / 16 * 8 + lane % 8] +
                            (first + lane / 8 % 2 * 8) * 2);
}

template <int kColumns>
__device__ __forceinline__ void load_factors(const Stage<float, kColumns>& stage, int step, int first,
                                             uint32_t (&bits)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    bits[i] = *reinterpret_cast<const uint32_t*>(stage.left[step * 8 + i / 2 * 4 + lane % 4] +
                                                 (first + i % 2 * 8 + lane / 4) * 4);
  }
}

template <int kColumns>
__device__ __forceinline__ void load_outputs(const Stage<bfloat16, kColumns>& stage, int step,
                                             int first, uint32_t (&bits)[2]) {
  // Both halves of the lanes give the addresses of the same two matrices.
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint32_t twice[4];
  load_transposed(twice, stage.right[step * 16 + lane % 16] + first * 2);
  bits[0] = twice[0];
  bits[1] = twice[1];
}

template <int kColumns>
__device__ __forceinline__ void load_outputs(const Stage<float, kColumns>& stage, int step, int first,
                                             uint32_t (&bits)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    bits[i] = *reinterpret_cast<const uint32_t*>(stage.right[step * 8 + i * 4 + lane % 4] +
                                                 (first + lane / 4) * 4);
  }
}

// Sums of a warp: 32 rows x half of the columns, as matrices of 16 x 8.
template <class Products, int kColumns>
struct WarpSums {
  using Number = typename Products::Number;
  static constexpr int kAcross = kColumns / 16;
  static constexpr int kSteps = kPixels<Number> * static_cast<int>(sizeof(Number)) / 32;
  float values[2][kAcross][4] = {};
  int lane = static_cast<int>(threadIdx.x) % 32;
  int row = static_cast<int>(threadIdx.x) / 32 % 2 * 32;
  int column = static_cast<int>(threadIdx.x) / 64 * (kColumns / 2);

  __device__ __forceinline__ void add(const Stage<Number, kColumns>& stage) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      typename Products::Left left[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        uint32_t bits[4];
        load_factors(stage, step, row + i * 16, bits);
        left[i] = Products::left(bits);
      }
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
        uint32_t bits[2];
        load_outputs(stage, step, column + j * 8, bits);
        const auto right = Products::right(bits);
#pragma unroll
        for (int i = 0; i < 2; ++i) Products::add(values[i][j], left[i], right);
      }
    }
  }

  __device__ __forceinline__ void leave(const Arguments& a, int first_vector,
                                        int first_output) const {
    const Geometry& g = a.geometry;
    constexpr int kEach = kEachVector<Number>;
    const int sources = g.group_sources(), outputs = g.group_results();
    const int per_tap = (sources + kEach - 1) / kEach;
    const int64_t rows = static_cast<int64_t>(g.taps()) * sources;
    float* const to =
        a.partial + (static_cast<int64_t>(blockIdx.y) * g.groups + blockIdx.z) * rows * outputs;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int own = row + i / 2 * 16 + i % 2 * 8 + lane / 4;
      const int vector = first_vector + own / kEach;
      const int channel = vector % per_tap * kEach + own % kEach;
      if (vector >= per_tap * g.taps() || channel >= sources) continue;
      const int64_t at = static_cast<int64_t>(vector / per_tap) * sources + channel;
#pragma unroll
      for (int j = 0; j < kAcross; ++j) {
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          const int output = first_output + column + j * 8 + lane % 4 * 2 + k;
          if (output < outputs) to[at * outputs + output] = values[i / 2][j][i % 2 * 2 + k];
        }
      }
    }
  }
};

// blocks: tiles of outputs and rows, chunks, groups.
template <class Products, int kColumns>
__global__ void __launch_bounds__(kTensorThreads) tensor_kernel(Arguments a, int row_tiles) {
  using Number = typename Products::Number;
  using Tile = Stage<Number, kColumns>;
  struct Tiles {
    Tile stages[kTensorStages];
  };
  auto& tiles = shared<Tiles>();
  const int first_vector =
      static_cast<int>(blockIdx.x) % row_tiles * (kRows / kEachVector<Number>);
  const int first_output = static_cast<int>(blockIdx.x) / row_tiles * kColumns;
  Sender<Number, kColumns> sender(a, first_vector, first_output);
  WarpSums<Products, kColumns> sums;
  const int stages = static_cast<int>((sender.stop - sender.next + kPixels<Number> - 1) / kPixels<Number>);
  sum_stages(sender, tiles.stages, stages, sums);
  sums.leave(a, first_vector, first_output);
}

template <class Products>
void run(cudaStream_t stream, const Arguments& a, int64_t chunks) {
  using Number = typename Products::Number;
  const Geometry& g = a.geometry;
  const int64_t vectors = g.taps() * ceiling(g.group_sources(), kEachVector<Number>);
  const int64_t row_tiles = ceiling(vectors, kRows / kEachVector<Number>);
  with_tile_columns(g.group_results(), [&]<int kColumns>() {
    const int64_t tiles = row_tiles * ceiling(g.group_results(), kColumns);
    const dim3 blocks(blocks_for(tiles, 1), blocks_for(chunks, 1, 65535),
                      blocks_for(g.groups, 1, 65535));
    launch(stream, {blocks, {kTensorThreads}, kTensorStages * sizeof(Stage<Number, kColumns>)},
           tensor_kernel<Products, kColumns>, a, static_cast<int>(row_tiles));
  });
}

}  // namespace

void run_on_tensor_cores(cudaStream_t stream, const Arguments& a, int64_t chunks, bool bf16) {
  if (bf16) {
    run<Bf16Products>(stream, a, chunks);
  } else {
    run<SplitProducts>(stream, a, chunks);
  }
}

}  // namespace secateur::cuda::gradient
