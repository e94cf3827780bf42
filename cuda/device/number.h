// Numbers in memory, f32 or bf16, and in registers, f32.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "bfloat16.h"

namespace secateur::cuda {

template <class T>
__device__ __forceinline__ T stored(float value);
template <>
__device__ __forceinline__ float stored<float>(float value) {
  return value;
}
template <>
__device__ __forceinline__ bfloat16 stored<bfloat16>(float value) {
  return to_bfloat16(value);
}

// Calls body(T{}) with the type that `bf16` means.
template <class Body>
auto with_number(bool bf16, const Body& body) {
  return bf16 ? body(bfloat16{}) : body(float{});
}

template <class T>
T* as(void* pointer) {
  return static_cast<T*>(pointer);
}

}  // namespace secateur::cuda
