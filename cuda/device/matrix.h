// Products of small matrices by all lanes of a warp, on tensor cores (PTX ISA, mma and ldmatrix; sm_80
// and up). A register holds 4 bytes of a row: two bf16 or one tf32. Lane l is in row l / 4 of its matrix
// and holds bytes 4 * (l % 4) and on; the emulator's software is in emulator/matrix.cpp.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(SECATEUR_EMULATOR)
#include "emulator/matrix.h"
#endif

namespace secateur::cuda {

// The rows of four matrices of 8 rows of 16 bytes in shared memory: lane l gives the address of row
// l % 8 of matrix l / 8, registers[i] is of matrix i.
__device__ __forceinline__ void load_matrices(uint32_t (&registers)[4], const void* row) {
#if defined(SECATEUR_EMULATOR)
  emulator::load_matrices(registers, row, false);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
#endif
}

// As above, of bf16 and transposed: lane l is in column l / 4 and holds rows 2 * (l % 4) and the next.
__device__ __forceinline__ void load_transposed(uint32_t (&registers)[4], const void* row) {
#if defined(SECATEUR_EMULATOR)
  emulator::load_matrices(registers, row, true);
#else
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
#endif
}

// sums [16, 8] += left [16, 16] * right [16, 8] in bf16, with f32 sums. left: rows 0-7 and 8-15 of the
// first 8 columns, then of the last; right: columns as rows, its first and last 8 rows; sums: rows 0-7
// and 8-15, where lane l holds columns 2 * (l % 4) and the next of row l / 4.
__device__ __forceinline__ void add_product_bf16(float (&sums)[4], const uint32_t (&left)[4],
                                                 const uint32_t* right) {
#if defined(SECATEUR_EMULATOR)
  emulator::add_product_bf16(sums, left, right);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#endif
}

// sums [16, 8] += left [16, 8] * right [8, 8] in tf32, laid out alike: half as many numbers a row.
__device__ __forceinline__ void add_product_tf32(float (&sums)[4], const uint32_t (&left)[4],
                                                 const uint32_t* right) {
#if defined(SECATEUR_EMULATOR)
  emulator::add_product_tf32(sums, left, right);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#endif
}

// The nearest tf32, an f32 whose last 13 bits are zero.
__device__ __forceinline__ uint32_t to_tf32(float value) {
#if defined(SECATEUR_EMULATOR)
  return emulator::to_tf32(value);
#else
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(value));
  return bits;
#endif
}

}  // namespace secateur::cuda
