#include "cpu/convolution/onednn/staging.h"

#include <cstring>

#include "bfloat16.h"
#include "cpu_features.h"

namespace secateur::onednn {

namespace {

// Plain loops that the compiler turns into vector code, once for each instruction set.
#define SECATEUR_LOOP [[gnu::always_inline]] inline void

SECATEUR_LOOP widen(float* __restrict to, const bfloat16* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = to_float(from[i]);
}

SECATEUR_LOOP narrow(bfloat16* __restrict to, const float* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = to_bfloat16(from[i]);
}

SECATEUR_LOOP add(float* __restrict to, const float* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

#undef SECATEUR_LOOP

struct Loops {
  void (*widen)(float*, const bfloat16*, int64_t);
  void (*narrow)(bfloat16*, const float*, int64_t);
  void (*add)(float*, const float*, int64_t);
};

constexpr Loops kPortable = {
    [](float* to, const bfloat16* from, int64_t count) { widen(to, from, count); },
    [](bfloat16* to, const float* from, int64_t count) { narrow(to, from, count); },
    [](float* to, const float* from, int64_t count) { add(to, from, count); }};

[[gnu::target("avx2")]] void widen_avx2(float* to, const bfloat16* from, int64_t count) {
  widen(to, from, count);
}
[[gnu::target("avx2")]] void narrow_avx2(bfloat16* to, const float* from, int64_t count) {
  narrow(to, from, count);
}
[[gnu::target("avx2")]] void add_avx2(float* to, const float* from, int64_t count) {
  add(to, from, count);
}

#define SECATEUR_AVX512 \
  [[gnu::target("avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")]]

SECATEUR_AVX512 void widen_avx512(float* to, const bfloat16* from, int64_t count) {
  widen(to, from, count);
}
SECATEUR_AVX512 void narrow_avx512(bfloat16* to, const float* from, int64_t count) {
  narrow(to, from, count);
}
SECATEUR_AVX512 void add_avx512(float* to, const float* from, int64_t count) {
  add(to, from, count);
}

#undef SECATEUR_AVX512

const Loops& loops() {
  static const Loops chosen = [] {
    const CpuFeatures allowed = cpu_features();
    if (allowed.avx512) return Loops{widen_avx512, narrow_avx512, add_avx512};
    if (allowed.avx2) return Loops{widen_avx2, narrow_avx2, add_avx2};
    return kPortable;
  }();
  return chosen;
}

}  // namespace

void convert(void* to, DType to_type, const void* from, DType from_type, int64_t count) {
  if (to_type == from_type) {
    std::memcpy(to, from, static_cast<size_t>(count * dtype_bytes(to_type)));
  } else if (to_type == DType::f32) {
    loops().widen(static_cast<float*>(to), static_cast<const bfloat16*>(from), count);
  } else {
    loops().narrow(static_cast<bfloat16*>(to), static_cast<const float*>(from), count);
  }
}

void accumulate(float* to, const float* from, int64_t count) { loops().add(to, from, count); }

void round_to_bf16(float* to, const float* from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = to_float(to_bfloat16(from[i]));
}

}  // namespace secateur::onednn
