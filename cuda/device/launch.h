// How kernels are started.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "device/check.h"
#include "device/grid.h"

namespace secateur::cuda {

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes = 0;
};

template <class... Parameters, class... Arguments>
void launch(cudaStream_t stream, const Grid& grid, void (*kernel)(Parameters...),
            Arguments... arguments) {
  constexpr size_t kWithoutAsking = 48 << 10;
  if (grid.shared_bytes > kWithoutAsking) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(grid.shared_bytes)),
          "give a kernel its shared memory");
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid.blocks;
  config.blockDim = grid.threads;
  config.dynamicSmemBytes = grid.shared_bytes;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...),
        "run a kernel");
}

// Calls work(i) once for every i below count, on as many threads.
template <class Work>
__global__ void __launch_bounds__(256) each_kernel(int64_t count, Work work) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) work(i);
}

template <class Work>
void for_each(cudaStream_t stream, int64_t count, Work work) {
  if (count == 0) return;
  launch(stream, {{blocks_for(count, 256)}, {256}}, each_kernel<Work>, count, work);
}

}  // namespace secateur::cuda
