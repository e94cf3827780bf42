// The reductions of batch norm: statistics forward, gradients of scale and offset backward. Blocks
// take chunks of pixels whose size does not depend on the grid; chunks merge in a fixed tree.

#include <algorithm>

#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace batch_norm_reduce {

constexpr int kChannels = 32, kRows = 8;  // threads of a block
constexpr int64_t kChunk = 512;           // pixels

// What the rows of a block found, per channel.
struct Sums {
  double first[kRows][kChannels], second[kRows][kChannels];
};

// Adds up the rows, in order, for the threads of row 0.
__device__ __forceinline__ void add_rows(const Sums& sums, double& first, double& second) {
  first = second = 0;
  for (int row = 0; row < kRows; ++row) {
    first += sums.first[row][threadIdx.x];
    second += sums.second[row][threadIdx.x];
  }
}

struct Chunk {
  int64_t first, last;  // pixels
};

__device__ __forceinline__ Chunk chunk_of_block(int64_t pixels) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kChunk;
  return {first, first + kChunk < pixels ? first + kChunk : pixels};
}

// Count, mean and squared deviations: [chunk][3][channels]; zeros for chunks beyond the last pixel.
// Sums are shifted by the chunk's first pixel.
template <class T>
__global__ void __launch_bounds__(kChannels * kRows)
    moments_kernel(const T* x, int64_t pixels, int channels, double* partial) {
  Sums& sums = shared<Sums>();
  const int channel = static_cast<int>(blockIdx.y * kChannels + threadIdx.x);
  const Chunk chunk = chunk_of_block(pixels);
  const bool counts = channel < channels && chunk.first < pixels;
  const float shift = counts ? to_float(x[chunk.first * channels + channel]) : 0;
  float sum = 0, squares = 0;
  for (int64_t pixel = chunk.first + threadIdx.y; counts && pixel < chunk.last; pixel += kRows) {
    const float value = to_float(x[pixel * channels + channel]) - shift;
    sum += value;
    squares = fmaf(value, value, squares);
  }
  sums.first[threadIdx.y][threadIdx.x] = static_cast<double>(sum);
  sums.second[threadIdx.y][threadIdx.x] = static_cast<double>(squares);
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  double all, all_squares;
  add_rows(sums, all, all_squares);
  const double count = counts ? static_cast<double>(chunk.last - chunk.first) : 0;
  const double shifted = counts ? all / count : 0;
  double* const to = partial + static_cast<int64_t>(blockIdx.x) * 3 * channels + channel;
  to[0] = count;
  to[channels] = static_cast<double>(shift) + shifted;
  // A NaN must stay one.
  const double deviations = all_squares - count * shifted * shifted;
  to[2 * channels] = deviations < 0 ? 0 : deviations;
}

// Merging by the formula of Chan, Golub & LeVeque, "Updating Formulae and a Pairwise Algorithm for
// Computing Sample Variances" (1979).
struct Moments {
  double count, mean, deviations;

  __device__ __forceinline__ void merge(const Moments& more) {
    const double all = count + more.count;
    if (all == 0) return;
    const double distance = more.mean - mean;
    mean += distance * more.count / all;
    deviations += more.deviations + distance * distance * count * more.count / all;
    count = all;
  }
};

// The chunks of all slices, in order.
struct Chunks {
  const std::byte* first;
  int64_t stride, in_slice, slices;

  __device__ const double* operator[](int64_t chunk) const {
    return reinterpret_cast<const double*>(first + chunk / in_slice * stride);
  }
  __device__ int64_t count() const { return in_slice * slices; }
};

struct StatisticsOutputs {
  const float *momentum, *running_mean, *running_variance;
  float *mean, *inverse_deviation, *new_mean, *new_variance;
  double epsilon;
};

__device__ __forceinline__ float moved(float before, double now, float momentum) {
  const double share = static_cast<double>(momentum);
  return static_cast<float>((1 - share) * static_cast<double>(before) + share * now);
}

// A warp for each channel: lanes merge runs of chunks, then each other.
__global__ void __launch_bounds__(kWarp)
    statistics_kernel(Chunks chunks, int channels, StatisticsOutputs o) {
  const int channel = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x);
  const int64_t first = chunks.count() * lane / kWarp, last = chunks.count() * (lane + 1) / kWarp;
  Moments own{0, 0, 0};
  for (int64_t chunk = first; chunk < last; ++chunk) {
    const double* const from =
        chunks[chunk] + chunk % chunks.in_slice * 3 * channels + channel;
    own.merge({from[0], from[channels], from[2 * channels]});
  }
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const Moments other{__shfl_down_sync(kWholeWarp, own.count, distance),
                        __shfl_down_sync(kWholeWarp, own.mean, distance),
                        __shfl_down_sync(kWholeWarp, own.deviations, distance)};
    // What lanes beyond lane 0's reach add counts for nothing.
    if (lane + distance < kWarp) own.merge(other);
  }
  if (lane != 0) return;
  const double variance = own.deviations / own.count;
  const double unbiased = own.count > 1 ? own.deviations / (own.count - 1) : variance;
  o.mean[channel] = static_cast<float>(own.mean);
  o.inverse_deviation[channel] = static_cast<float>(1 / sqrt(variance + o.epsilon));
  o.new_mean[channel] = moved(o.running_mean[channel], own.mean, *o.momentum);
  o.new_variance[channel] = moved(o.running_variance[channel], unbiased, *o.momentum);
}

// Sums of dz and of dz * (x - mean): [chunk][2][channels].
template <class T>
__global__ void __launch_bounds__(kChannels * kRows)
    backward_kernel(const T* dy, const T* x, const float* mean, const T* y, int64_t pixels,
                    int channels, double* partial) {
  Sums& sums = shared<Sums>();
  const int channel = static_cast<int>(blockIdx.y * kChannels + threadIdx.x);
  const Chunk chunk = chunk_of_block(pixels);
  const float centre = channel < channels ? mean[channel] : 0;
  float sum = 0, products = 0;
  for (int64_t pixel = chunk.first + threadIdx.y; channel < channels && pixel < chunk.last;
       pixel += kRows) {
    const int64_t at = pixel * channels + channel;
    const float dz = y == nullptr || to_float(y[at]) > 0 ? to_float(dy[at]) : 0;
    sum += dz;
    products = fmaf(dz, to_float(x[at]) - centre, products);
  }
  sums.first[threadIdx.y][threadIdx.x] = static_cast<double>(sum);
  sums.second[threadIdx.y][threadIdx.x] = static_cast<double>(products);
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  double* const to = partial + static_cast<int64_t>(blockIdx.x) * 2 * channels + channel;
  add_rows(sums, to[0], to[channels]);
}

__global__ void __launch_bounds__(kWarp)
    backward_combine_kernel(Chunks chunks, int channels, const float* inverse_deviation,
                            float* dscale, float* doffset) {
  const int channel = static_cast<int>(blockIdx.x), lane = static_cast<int>(threadIdx.x);
  const int64_t first = chunks.count() * lane / kWarp, last = chunks.count() * (lane + 1) / kWarp;
  double sum = 0, products = 0;
  for (int64_t chunk = first; chunk < last; ++chunk) {
    const double* const from =
        chunks[chunk] + chunk % chunks.in_slice * 2 * channels + channel;
    sum += from[0];
    products += from[channels];
  }
  sum = warp_sum(sum);
  products = warp_sum(products);
  if (lane != 0) return;
  doffset[channel] = static_cast<float>(sum);
  dscale[channel] =
      static_cast<float>(products * static_cast<double>(inverse_deviation[channel]));
}

// What both have in common: [chunk][numbers][channels] doubles for each slice.
class Reduction : public Kernel {
 public:
  Reduction(const Extents& extents, int64_t slice, int64_t numbers)
      : extents_(extents), chunks_(ceiling(slice * extents.pixels(), kChunk)),
        numbers_(numbers) {}

  int64_t partial_bytes() const final {
    return chunks_ * numbers_ * extents_.channels * static_cast<int64_t>(sizeof(double));
  }

 protected:
  int channels() const { return static_cast<int>(extents_.channels); }
  int64_t pixels(const Slice& slice) const { return slice.images * extents_.pixels(); }
  Grid grid() const {
    return {{blocks_for(chunks_, 1), blocks_for(extents_.channels, kChannels, 65535)},
            {kChannels, kRows},
            sizeof(Sums)};
  }
  Grid combining_grid() const { return {{blocks_for(extents_.channels, 1)}, {kWarp}}; }
  Chunks chunks(const Partials& partials) const {
    return {partials.first, partials.stride, chunks_, partials.slices};
  }

 private:
  const Extents extents_;
  const int64_t chunks_, numbers_;
};

template <class T>
class Statistics final : public Reduction {
 public:
  Statistics(const Extents& extents, int64_t slice, double epsilon)
      : Reduction(extents, slice, 3), epsilon_(epsilon) {}

  void run(const Slice& slice) const override {
    launch(slice.stream, grid(), moments_kernel<T>, as<T>(slice.inputs[0]), pixels(slice),
           channels(), static_cast<double*>(slice.partial));
  }

  void combine(const Partials& p) const override {
    const StatisticsOutputs outputs{as<float>(p.inputs[1]),  as<float>(p.inputs[2]),
                                    as<float>(p.inputs[3]),  as<float>(p.outputs[0]),
                                    as<float>(p.outputs[1]), as<float>(p.outputs[2]),
                                    as<float>(p.outputs[3]), epsilon_};
    launch(p.stream, combining_grid(), statistics_kernel, chunks(p), channels(), outputs);
  }

 private:
  const double epsilon_;
};

template <class T>
class Backward final : public Reduction {
 public:
  Backward(const Extents& extents, int64_t slice) : Reduction(extents, slice, 2) {}

  void run(const Slice& s) const override {
    launch(s.stream, grid(), backward_kernel<T>, as<T>(s.inputs[0]), as<T>(s.inputs[1]),
           as<float>(s.inputs[2]), as<T>(s.inputs[4]), pixels(s), channels(),
           static_cast<double*>(s.partial));
  }

  void combine(const Partials& p) const override {
    launch(p.stream, combining_grid(), backward_combine_kernel, chunks(p), channels(),
           as<float>(p.inputs[3]), as<float>(p.outputs[0]), as<float>(p.outputs[1]));
  }
};

}  // namespace batch_norm_reduce

KernelPointer batch_norm_statistics_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  return with_number(is_bf16(*call.input(0)), [&](auto number) -> KernelPointer {
    return std::make_unique<batch_norm_reduce::Statistics<decltype(number)>>(
        extents, call.entry.slice, call.instruction.floats[0]);
  });
}

KernelPointer batch_norm_backward_reduce_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  return with_number(is_bf16(*call.input(0)), [&](auto number) -> KernelPointer {
    return std::make_unique<batch_norm_reduce::Backward<decltype(number)>>(extents,
                                                                           call.entry.slice);
  });
}

}  // namespace secateur::cuda
