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
#define SECATEUR_BF16(n) asm volatile("vdpbf16ps %%zmm16, %%zmm17, %%zmm" #n ::: "xmm" #n);
#define SECATEUR_INT16(n) asm volatile("vpdpwssd %%zmm16, %%zmm17, %%zmm" #n ::: "xmm" #n);

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
    SECATEUR_EACH_CHAIN(SECATEUR_BF16)
  }
}

[[gnu::target("avx512f")]] void multiply_int16() {
  clear();
  for (int i = 0; i < kLinks; ++i) {
    SECATEUR_EACH_CHAIN(SECATEUR_INT16)
  }
}

#undef SECATEUR_INT16
#undef SECATEUR_BF16
#undef SECATEUR_FMA
#undef SECATEUR_CLEAR
#undef SECATEUR_EACH_CHAIN

// The fastest of several attempts: interruptions only add.
struct Fastest {
  double seconds = std::numeric_limits<double>::infinity();

  void time(bool present, void (*work)()) {
    if (!present) return;
    const auto started = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - started;
    seconds = std::min(seconds, spent.count());
  }
  double rate(double lanes) const { return lanes * kChains * kLinks / seconds; }
};

// In turns, so that changes of the clock meet all of them.
ProductRates measure(const CpuFeatures& hardware) {
  Fastest f32, bf16, int16;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    f32.time(hardware.avx512, multiply_f32);
    bf16.time(hardware.avx512_bf16, multiply_bf16);
    int16.time(hardware.avx512_vnni, multiply_int16);
  }
  return {f32.rate(16), bf16.rate(32), int16.rate(32)};
}

}  // namespace

const ProductRates& product_rates() {
  static const ProductRates measured = measure(hardware_features());
  return measured;
}

}  // namespace secateur
