#include "product_rates.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "cpu_features.h"

namespace secateur {

namespace {

// Chains of one instruction each, more than it takes to hide its latency.
constexpr int kChains = 16, kLinks = 512, kAttempts = 16;

#define SECATEUR_EACH_CHAIN(DO) \
  DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11) DO(12) DO(13) DO(14) DO(15)

// Zeros: no operand is slower than another, and none becomes a denormal.
#define SECATEUR_CLEAR(n) asm volatile("vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n ::: "xmm" #n);
#define SECATEUR_FMA(n) asm volatile("vfmadd231ps %%zmm16, %%zmm17, %%zmm" #n ::: "xmm" #n);
#define SECATEUR_DOT(n) asm volatile("vdpbf16ps %%zmm16, %%zmm17, %%zmm" #n ::: "xmm" #n);

[[gnu::target("avx512f")]] void clear() {
  SECATEUR_EACH_CHAIN(SECATEUR_CLEAR)
  SECATEUR_CLEAR(16)
  SECATEUR_CLEAR(17)
}

[[gnu::target("avx512f")]] void multiply_f32() {
  clear();
  for (int i = 0; i < kLinks; ++i) {
    SECATEUR_EACH_CHAIN(SECATEUR_FMA)
  }
}

[[gnu::target("avx512f")]] void multiply_bf16() {
  clear();
  for (int i = 0; i < kLinks; ++i) {
    SECATEUR_EACH_CHAIN(SECATEUR_DOT)
  }
}

#undef SECATEUR_DOT
#undef SECATEUR_FMA
#undef SECATEUR_CLEAR
#undef SECATEUR_EACH_CHAIN

double seconds_of(void (*work)()) {
  const auto started = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

// In turns, so that the clock's changes meet both; the fastest of each, for interruptions only add.
ProductRates measure(const CpuFeatures& hardware) {
  if (!hardware.avx512) return {};
  constexpr double kInstructions = double{kChains} * kLinks;
  double f32 = std::numeric_limits<double>::infinity(), bf16 = f32;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    f32 = std::min(f32, seconds_of(multiply_f32));
    if (hardware.avx512_bf16) bf16 = std::min(bf16, seconds_of(multiply_bf16));
  }
  return {16 * kInstructions / f32, 32 * kInstructions / bf16};
}

}  // namespace

const ProductRates& product_rates() {
  static const ProductRates measured = measure(hardware_features());
  return measured;
}

}  // namespace secateur
