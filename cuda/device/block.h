// What the threads of a block share.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace secateur::cuda {

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kWarp = 32;

// The block's shared memory as a T; launch with shared_bytes = sizeof(T). Its contents are anything.
#if defined(SECATEUR_EMULATOR)
template <class T>
T& shared() {
  return *static_cast<T*>(emulator::shared_memory(sizeof(T)));
}
#else
template <class T>
__device__ __forceinline__ T& shared() {
  extern __shared__ __align__(128) unsigned char secateur_shared[];
  return *reinterpret_cast<T*>(secateur_shared);
}
#endif

// As many E as there is shared memory for behind a T.
template <class T, class E>
__device__ __forceinline__ E* shared_after() {
  static_assert(sizeof(T) % alignof(E) == 0);
  return reinterpret_cast<E*>(reinterpret_cast<unsigned char*>(&shared<T>()) + sizeof(T));
}

// The same for all lanes: sums in the order of a butterfly, whatever the lane.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(kWholeWarp, value, bits);
  return value;
}

__device__ __forceinline__ float warp_largest(float value) {
  for (int bits = kWarp / 2; bits > 0; bits /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, bits));
  }
  return value;
}

}  // namespace secateur::cuda
