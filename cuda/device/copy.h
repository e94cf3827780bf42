// Copies from device to shared memory that threads queue and wait for later (PTX ISA, cp.async;
// sm_80 and up).
#pragma once

#include <cuda_runtime.h>

namespace secateur::cuda {

constexpr int kCopyBytes = 16;  // of one copy; both ends are aligned to it

// Zeros arrive where `inside` is false; `from` is not read then.
__device__ __forceinline__ void queue_copy(void* to, const void* from, bool inside) {
#if defined(SECATEUR_EMULATOR)
  emulator::queue_copy(to, inside ? from : nullptr, kCopyBytes);
#else
  const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = inside ? kCopyBytes : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(from),
               "r"(bytes)
               : "memory");
#endif
}

// What this thread has queued since the last call is one group, be it empty.
__device__ __forceinline__ void close_copies() {
#if defined(SECATEUR_EMULATOR)
  emulator::close_copies();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

// Until all groups of this thread but the latest kPending have arrived. Other threads' need a barrier.
template <int kPending>
__device__ __forceinline__ void wait_for_copies() {
#if defined(SECATEUR_EMULATOR)
  emulator::wait_for_copies(kPending);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
#endif
}

}  // namespace secateur::cuda
