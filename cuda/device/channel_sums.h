// Reductions that leave one or two sums a channel: chunks of pixels whose size does not depend on
// the grid, each summed in f64 by a thread a channel, then the chunks in order.
#pragma once

#include <cstdint>
#include <type_traits>

#include "device/launch.h"
#include "device/number.h"
#include "execution/kernel.h"

namespace secateur::cuda {

constexpr int64_t kSumsChunk = 64;  // pixels

// Sums of add(pixel, channel, first, second) over each chunk: [chunk][2][channels].
template <class Add>
struct ChunkSums {
  Add add;
  int64_t pixels, channels;
  double* partial;

  __device__ void operator()(int64_t i) const {
    const int64_t channel = i % channels, chunk = i / channels;
    const int64_t start = chunk * kSumsChunk;
    const int64_t stop = start + kSumsChunk < pixels ? start + kSumsChunk : pixels;
    double first = 0, second = 0;
    for (int64_t pixel = start; pixel < stop; ++pixel) add(pixel, channel, first, second);
    partial[chunk * 2 * channels + channel] = first;
    partial[(chunk * 2 + 1) * channels + channel] = second;
  }
};

struct CombineSums {
  const std::byte* partials;
  int64_t stride, slices, chunks, channels;
  float *first, *second;  // second: or nullptr

  __device__ void operator()(int64_t channel) const {
    double sums[2] = {0, 0};
    for (int64_t slice = 0; slice < slices; ++slice) {
      const auto* const from = reinterpret_cast<const double*>(partials + slice * stride);
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        sums[0] += from[chunk * 2 * channels + channel];
        sums[1] += from[(chunk * 2 + 1) * channels + channel];
      }
    }
    first[channel] = static_cast<float>(sums[0]);
    if (second != nullptr) second[channel] = static_cast<float>(sums[1]);
  }
};

// `Make` gives, for a slice, what adds a pixel's part; it may use `scratch` bytes to prepare it.
template <class Make>
class ChannelSums final : public Kernel {
 public:
  ChannelSums(const Extents& extents, int64_t slice, const Make& make, int64_t scratch)
      : extents_(extents), chunks_(ceiling(slice * extents.pixels(), kSumsChunk)), make_(make),
        scratch_(scratch) {}

  int64_t scratch_bytes() const override { return scratch_; }

  int64_t partial_bytes() const override {
    return chunks_ * 2 * extents_.channels * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& s) const override {
    const auto add = make_(s);
    for_each(s.stream, chunks_ * extents_.channels,
             ChunkSums<std::remove_const_t<decltype(add)>>{add, s.images * extents_.pixels(), extents_.channels,
                                      static_cast<double*>(s.partial)});
  }

  void combine(const Partials& p) const override {
    for_each(p.stream, extents_.channels,
             CombineSums{p.first, p.stride, p.slices, chunks_, extents_.channels,
                         as<float>(p.outputs[0]),
                         p.outputs.size() > 1 ? as<float>(p.outputs[1]) : nullptr});
  }

 private:
  const Extents extents_;
  const int64_t chunks_;  // of a whole slice
  const Make make_;
  const int64_t scratch_;
};

template <class Make>
KernelPointer channel_sums(const Extents& extents, int64_t slice, const Make& make,
                           int64_t scratch = 0) {
  return std::make_unique<ChannelSums<Make>>(extents, slice, make, scratch);
}

}  // namespace secateur::cuda
