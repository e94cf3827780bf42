// The two products, of 16 lanes each. Included by the pairs/*_avx512.cpp files only; see simd.h.
#pragma once

#include "cpu/convolution/pairs/kernels.h"
#include "cpu/simd/simd.h"

namespace secateur::pairs {
namespace {

// Rows of a tile of two vectors: 28 of 32 registers hold sums, and rows of 7, 14, 28 or 56 pixels divide.
constexpr int kMostRows = 14;

// GCC 12 keeps sums in memory when these are its builtins.
struct Bf16 {
  static constexpr int64_t kLongest = 128;  // rounding of longer chains adds up
  static constexpr bool kScaled = false;

  SECATEUR_INLINE static void add(Floats& sum, Words pair, Words weights) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pair), "v"(weights));
  }
  SECATEUR_INLINE static Floats sum_of(Floats sum) { return sum; }
};

struct Int16 {
  static constexpr int64_t kLongest = kChain;
  static constexpr bool kScaled = true;

  SECATEUR_INLINE static void add(Floats& sum, Words pair, Words weights) {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(pair), "v"(weights));
  }
  SECATEUR_INLINE static Floats sum_of(Floats sum) {
    return reinterpret_cast<Floats>(
        _mm512_maskz_cvtepi32_ps(0xffff, reinterpret_cast<__m512i>(sum)));
  }
};

typedef uint32_t WordsAt __attribute__((vector_size(kVectorBytes), aligned(2), may_alias));
typedef uint32_t WordAt __attribute__((aligned(2), may_alias));

SECATEUR_INLINE Words read_words(const uint16_t* at) { return *reinterpret_cast<const WordsAt*>(at); }
SECATEUR_INLINE Words repeat_pair(const uint16_t* at) {
  return Words{} + *reinterpret_cast<const WordAt*>(at);
}

}  // namespace
}  // namespace secateur::pairs
