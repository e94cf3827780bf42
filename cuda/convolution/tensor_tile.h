// What convolutions on tensor cores share: kinds of products, and vectors of numbers on their way into
// shared memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "bfloat16.h"
#include "device/copy.h"
#include "device/matrix.h"

namespace secateur::cuda {

constexpr int kTensorThreads = 128;  // of a block: four warps
constexpr int kTensorStages = 3;     // of tiles on their way into shared memory

// bf16 as it is stored.
struct Bf16Products {
  using Number = bfloat16;
  struct Left {
    uint32_t bits[4];
  };
  struct Right {
    uint32_t bits[2];
  };

  static __device__ __forceinline__ Left left(const uint32_t (&bits)[4]) {
    return {{bits[0], bits[1], bits[2], bits[3]}};
  }
  static __device__ __forceinline__ Right right(const uint32_t* bits) {
    return {{bits[0], bits[1]}};
  }
  static __device__ __forceinline__ void add(float (&sums)[4], const Left& left,
                                             const Right& right) {
    add_product_bf16(sums, left.bits, right.bits);
  }
};

// f32 as a sum of two tf32, of which the product of the small parts is left out: Ootomo and Yokota,
// "Recovering single precision accuracy from Tensor Cores" (arXiv 2203.03341).
struct SplitProducts {
  using Number = float;
  struct Left {
    uint32_t large[4], small[4];
  };
  struct Right {
    uint32_t large[2], small[2];
  };

  static __device__ __forceinline__ void split(uint32_t bits, uint32_t& large, uint32_t& small) {
    const float value = std::bit_cast<float>(bits);
    large = to_tf32(value);
    small = to_tf32(value - std::bit_cast<float>(large));
  }
  static __device__ __forceinline__ Left left(const uint32_t (&bits)[4]) {
    Left result;
#pragma unroll
    for (int i = 0; i < 4; ++i) split(bits[i], result.large[i], result.small[i]);
    return result;
  }
  static __device__ __forceinline__ Right right(const uint32_t* bits) {
    Right result;
#pragma unroll
    for (int i = 0; i < 2; ++i) split(bits[i], result.large[i], result.small[i]);
    return result;
  }
  static __device__ __forceinline__ void add(float (&sums)[4], const Left& left,
                                             const Right& right) {
    add_product_tf32(sums, left.small, right.large);
    add_product_tf32(sums, left.large, right.small);
    add_product_tf32(sums, left.large, right.large);
  }
};

template <class Number>
constexpr int kEachVector = kCopyBytes / static_cast<int>(sizeof(Number));

// Sends `count` numbers, up to a vector, into shared memory, and zeros behind them. Whole vectors at
// aligned places are copied on the way; others are there when the call returns.
template <class Number>
__device__ __forceinline__ void send_vector(void* to, const Number* from, int count, bool aligned) {
  constexpr int kEach = kEachVector<Number>;
  if (aligned) return queue_copy(to, from, count > 0);
  struct alignas(kCopyBytes) Vector {
    Number numbers[kEach];
  } vector;
#pragma unroll
  for (int i = 0; i < kEach; ++i) vector.numbers[i] = i < count ? from[i] : Number{};
  *static_cast<Vector*>(to) = vector;
}

// Adds up all stages of a block's tile: those behind are on their way while one is multiplied.
template <class Sender, class Stage, class Sums>
__device__ __forceinline__ void sum_stages(Sender& sender, Stage (&tiles)[kTensorStages], int stages,
                                           Sums& sums) {
  for (int i = 0; i < kTensorStages - 1; ++i) {
    if (i < stages) sender.send(tiles[i]);
    close_copies();
  }
  for (int i = 0; i < stages; ++i) {
    wait_for_copies<kTensorStages - 2>();
    // Everyone's copies are there, and everyone has read the stage that is sent into next.
    __syncthreads();
    const int sent = i + kTensorStages - 1;
    if (sent < stages) sender.send(tiles[sent % kTensorStages]);
    close_copies();
    sums.add(tiles[i % kTensorStages]);
  }
}

// The result channels that a block's tile has: no more than twice as many as there are.
template <class Body>
void with_tile_columns(int results, const Body& body) {
  if (results <= 16) return body.template operator()<16>();
  if (results <= 32) return body.template operator()<32>();
  return body.template operator()<64>();
}

}  // namespace secateur::cuda
