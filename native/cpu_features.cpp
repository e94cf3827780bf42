#include "cpu_features.h"

#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "error.h"
#include "product_rates.h"

namespace secateur {

namespace {

// Register state the operating system saves, XCR0 (needs OSXSAVE).
unsigned long long saved_state() {
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

// Linux grants tile data to a process that asks for it.
bool request_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool bit(unsigned word, int position) { return (word >> position) & 1; }

CpuFeatures detect() {
  CpuFeatures found;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  const bool fma = bit(c, 12), saves = bit(c, 27);
  if (!saves || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
  const unsigned long long state = saved_state();
  const bool vectors = (state & 0x6) == 0x6, masks = (state & 0xe6) == 0xe6;
  const bool tiles = (state & 0x60000) == 0x60000;
  const bool amx = bit(d, 24) && bit(d, 22);
  found.avx2 = vectors && fma && bit(b, 5);
  found.avx512 = found.avx2 && masks && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
  found.avx512_vnni = found.avx512 && bit(c, 11);
  unsigned a1 = 0;
  if (__get_cpuid_count(7, 1, &a1, &b, &c, &d)) found.avx512_bf16 = found.avx512 && bit(a1, 5);
  found.amx_bf16 = found.avx512_bf16 && amx && tiles && request_tiles();
  return found;
}

// Converting to int16 and back takes up to a quarter of the time of its products.
constexpr double kWorthConverting = 1.5;

bool bf16_is_faster() { return product_rates().bf16 > product_rates().f32; }
bool int16_is_faster() { return product_rates().int16 > kWorthConverting * product_rates().f32; }

}  // namespace

const CpuFeatures& hardware_features() {
  static const CpuFeatures hardware = detect();
  return hardware;
}

CpuFeatures cpu_features() {
  const CpuFeatures& hardware = hardware_features();
  const char* const variable = std::getenv("SECATEUR_ISA");
  const std::string limit = variable == nullptr ? "amx" : variable;
  const bool amx = limit == "amx", bf16 = limit == "avx512-bf16", vnni = limit == "avx512-vnni";
  const bool avx512 = amx || bf16 || vnni || limit == "avx512", avx2 = avx512 || limit == "avx2";
  if (!avx2 && limit != "portable") {
    throw Error("option-invalid", "Expected SECATEUR_ISA to be portable, avx2, avx512, avx512-vnni, "
                                  "avx512-bf16 or amx, found " + limit + ".");
  }
  CpuFeatures allowed = hardware;
  allowed.avx2 &= avx2;
  allowed.avx512 &= avx512;
  allowed.avx512_bf16 &= avx512;
  allowed.avx512_vnni &= avx512;
  allowed.amx_bf16 &= amx;
  if (allowed.avx512_bf16) allowed.bf16_dot = bf16 || (amx && bf16_is_faster());
  if (allowed.avx512_vnni) allowed.int16_dot = vnni || (amx && int16_is_faster());
  return allowed;
}

void flush_denormals() {
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040;
  _mm_setcsr(_mm_getcsr() | kFlushToZero | kDenormalsAreZero);
}

}  // namespace secateur
