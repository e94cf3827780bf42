// The part of CUDA that the sources of cuda/ use, on a CPU: kernels run for real, one fiber a
// thread, so that they can be tested where there is no GPU. It stands in for NVIDIA's header of
// this name when the emulator is built.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>

#include "emulator/machine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned its_x = 1, unsigned its_y = 1, unsigned its_z = 1)
      : x(its_x), y(its_y), z(its_z) {}
};

inline const secateur::emulator::Index& threadIdx = secateur::emulator::where().thread;
inline const secateur::emulator::Index& blockIdx = secateur::emulator::where().block;
inline const secateur::emulator::Index& blockDim = secateur::emulator::where().threads;
inline const secateur::emulator::Index& gridDim = secateur::emulator::where().blocks;

// ---- Within a kernel

inline void __syncthreads() { secateur::emulator::wait_for_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { secateur::emulator::wait_for_warp(mask); }

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
  return secateur::emulator::shuffle(secateur::emulator::Shuffle::from, mask, value, lane, width);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32) {
  return secateur::emulator::shuffle(secateur::emulator::Shuffle::down, mask, value,
                                     static_cast<int>(distance), width);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  return secateur::emulator::shuffle(secateur::emulator::Shuffle::exclusive_or, mask, value, bits,
                                     width);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return secateur::emulator::ballot(mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}

inline unsigned long long atomicMin(unsigned long long* at, unsigned long long value) {
  const unsigned long long before = *at;
  if (value < before) *at = value;
  return before;
}

// ---- The runtime

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2 };

typedef struct EmulatedStream* cudaStream_t;
typedef struct EmulatedEvent* cudaEvent_t;

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
};

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

// The reason that the machine found last, where it is its own.
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void** data, size_t bytes);
cudaError_t cudaFree(void* data);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop);

template <class Function>
cudaError_t cudaFuncSetAttribute(Function*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<Parameters...> copied(static_cast<Parameters>(arguments)...);
  const auto& [blocks, threads, shared_bytes, stream] = *config;
  const bool ran = secateur::emulator::run_grid(
      {blocks.x, blocks.y, blocks.z}, {threads.x, threads.y, threads.z}, shared_bytes,
      [&] { std::apply(kernel, copied); });
  return ran ? cudaSuccess : cudaErrorLaunchFailure;
}
