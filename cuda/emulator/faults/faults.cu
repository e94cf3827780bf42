// Kernels with planted mistakes, and without, for tests of the emulator itself.
//
//   emulator_faults NAME
//
// Prints what the grid left, a number a line, or why it ended.

#include <cuda_runtime.h>

#include <cstdio>
#include <functional>
#include <map>
#include <string>

#include "bfloat16.h"
#include "device/block.h"
#include "device/copy.h"
#include "device/matrix.h"

namespace {

using namespace secateur::cuda;

constexpr int kThreads = 48;

struct Row {
  float numbers[kThreads];
};

// Threads hand numbers to one another through shared memory.
__global__ void reverse(const float* x, float* y, bool with_barrier) {
  Row& row = shared<Row>();
  const unsigned i = threadIdx.x;
  row.numbers[i] = x[i];
  if (with_barrier) __syncthreads();
  y[i] = row.numbers[kThreads - 1 - i];
}

// Shared memory used again before everyone has read it.
__global__ void shift_twice(const float* x, float* y, bool with_barrier) {
  Row& row = shared<Row>();
  const unsigned i = threadIdx.x;
  row.numbers[i] = x[i];
  __syncthreads();
  const float next = row.numbers[(i + 1) % kThreads];
  if (with_barrier) __syncthreads();
  row.numbers[i] = next;
  __syncthreads();
  y[i] = row.numbers[(i + 1) % kThreads];
}

__global__ void read_beyond(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x + 1]; }
__global__ void write_beyond(const float* x, float* y) { y[threadIdx.x + 1] = x[threadIdx.x]; }

__global__ void write_beyond_shared(const float* x, float* y) {
  Row& row = shared<Row>();
  row.numbers[threadIdx.x + 1] = x[threadIdx.x];
  y[threadIdx.x] = 0;
}

__global__ void leave_warp(const float* x, float* y) {
  if (threadIdx.x == 3) return;
  y[threadIdx.x] = __shfl_xor_sync(threadIdx.x < 32 ? kWholeWarp : 0xffffu, x[threadIdx.x], 1);
}

__global__ void meet_in_different_operations(const float* x, float* y) {
  const unsigned mask = threadIdx.x < 32 ? kWholeWarp : 0xffffu;
  if (threadIdx.x % 2 == 0) {
    __syncwarp(mask);
  } else {
    y[threadIdx.x] = __shfl_sync(mask, x[threadIdx.x], 0);
  }
}

// Half the block waits for itself at a barrier of the warp that the other half never reaches.
__global__ void wait_for_ever(const float*, float*) {
  if (threadIdx.x == 0) {
    __syncwarp(3);
  } else {
    __syncthreads();
  }
}

__global__ void lanes(const float* x, float* y) {
  const unsigned i = threadIdx.x, mask = i < 32 ? kWholeWarp : 0xffffu;
  const float down = __shfl_down_sync(mask, x[i], 1u, 16);
  const float crossed = __shfl_xor_sync(mask, x[i], 2);
  const float first = __shfl_sync(mask, x[i], 0);
  const unsigned odd = __ballot_sync(mask, static_cast<int>(i) % 2);
  y[i] = 10000 * down + 100 * crossed + first + (odd == (0xaaaaaaaau & mask) ? 0.5f : 0);
}

struct alignas(16) Copied {
  float numbers[kThreads];
};

// Copies a vector of its own into shared memory, and reads it before or after it waited.
__global__ void copy(const float* x, float* y, bool wait, int shift) {
  Copied& row = shared<Copied>();
  const unsigned i = threadIdx.x;
  if (i % 4 == 0) queue_copy(&row.numbers[i], x + i + shift, i != 8);
  close_copies();
  if (wait) wait_for_copies<0>();
  __syncthreads();
  y[i] = row.numbers[i];
}

// [16, 16] * [16, 8] of numbers by row and column, of which the left side is transposed where it lies.
__global__ void multiply(const float*, float* y) {
  struct alignas(16) Factors {
    secateur::bfloat16 left[16][16], right[8][16];
  };
  Factors& factors = shared<Factors>();
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < 16) {
    for (int i = 0; i < 16; ++i) {
      factors.left[i][lane] = secateur::to_bfloat16(static_cast<float>(lane + 2 * i));
      if (i < 8) factors.right[i][lane] = secateur::to_bfloat16(static_cast<float>(i - lane));
    }
  }
  __syncthreads();
  if (lane >= 32) return;
  uint32_t left[4], right[4];
  float sums[4] = {0.5f, 0, 0, 0};
  load_transposed(left, &factors.left[lane / 16 * 8 + lane % 8][lane / 8 % 2 * 8]);
  load_matrices(right, &factors.right[lane % 8][lane / 8 % 2 * 8]);
  add_product_bf16(sums, left, right);
  y[lane] = sums[0] + 1000 * sums[3];
}

struct Fault {
  std::function<cudaError_t(const cudaLaunchConfig_t&, const float*, float*)> run;
  size_t shared_bytes = sizeof(Row);
};

template <class... Parameters, class... More>
Fault with(void (*kernel)(Parameters...), More... more) {
  return {[=](const cudaLaunchConfig_t& config, const float* x, float* y) {
    return cudaLaunchKernelEx(&config, kernel, x, y, more...);
  }};
}

const std::map<std::string, Fault>& faults() {
  static const std::map<std::string, Fault> all = {
      {"reverse", with(reverse, true)},
      {"reverse without barrier", with(reverse, false)},
      {"shift twice", with(shift_twice, true)},
      {"shift twice without barrier", with(shift_twice, false)},
      {"read beyond", with(read_beyond)},
      {"write beyond", with(write_beyond)},
      {"write beyond shared memory", with(write_beyond_shared)},
      {"leave a warp", with(leave_warp)},
      {"meet in different operations", with(meet_in_different_operations)},
      {"wait for ever", with(wait_for_ever)},
      {"lanes", with(lanes)},
      {"copy", with(copy, true, 0)},
      {"copy without waiting", with(copy, false, 0)},
      {"copy from between vectors", with(copy, true, 1)},
      {"multiply", {with(multiply).run, 24 * 16 * 2}},
  };
  return all;
}

}  // namespace

int main(int count, char** arguments) {
  const auto found = count == 2 ? faults().find(arguments[1]) : faults().end();
  if (found == faults().end()) {
    std::fprintf(stderr, "Expected: emulator_faults NAME.\n");
    return 2;
  }
  void *x = nullptr, *y = nullptr;
  cudaMalloc(&x, kThreads * sizeof(float));
  cudaMalloc(&y, kThreads * sizeof(float));
  for (int i = 0; i < kThreads; ++i) static_cast<float*>(x)[i] = static_cast<float>(i);
  cudaLaunchConfig_t config{};
  config.gridDim = {1};
  config.blockDim = {kThreads};
  config.dynamicSmemBytes = found->second.shared_bytes;
  const cudaError_t status =
      found->second.run(config, static_cast<float*>(x), static_cast<float*>(y));
  if (status != cudaSuccess) {
    std::printf("ended: %s\n", cudaGetErrorString(status));
    return 1;
  }
  for (int i = 0; i < kThreads; ++i) std::printf("%.9g\n", static_cast<double>(static_cast<float*>(y)[i]));
  cudaFree(x);
  cudaFree(y);
  return 0;
}
