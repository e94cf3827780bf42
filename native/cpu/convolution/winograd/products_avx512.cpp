// Products over channels, and over tiles, of transformed tiles.

#include "cpu/convolution/winograd/kernels.h"
#include "cpu/convolution/winograd/lanes.h"

namespace secateur::winograd {

namespace {

// Adds a[i] b[j] for one of the indices that a product sums over; a[i] is at a[i * RowStep].
template <int RowStep, int Rows, int Vectors>
[[gnu::always_inline]] inline void add_product(Lanes (&sum)[Rows][Vectors], const float* a,
                                               const float* b, int64_t b_plane) {
  Lanes right[Vectors];
#pragma GCC unroll 2
  for (int j = 0; j < Vectors; ++j) right[j] = _mm512_loadu_ps(b + j * b_plane);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
    const Lanes left = _mm512_set1_ps(a[i * RowStep]);
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j] = _mm512_fmadd_ps(left, right[j], sum[i][j]);
  }
}

// Tiles by outputs.
template <int Rows, int Vectors>
void multiply_block(const Tiles& c, const Tiles& a, const float* b, int64_t b_plane,
                    const float* bias, int64_t depth) {
  Lanes sum[Rows][Vectors];
#pragma GCC unroll 2
  for (int j = 0; j < Vectors; ++j) {
    const Lanes start = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) sum[i][j] = start;
  }
  for (int64_t done = 0; done < depth; done += kLanes) {
    const float* const from = a.values + done / kLanes * a.plane;
    const int64_t count = depth - done < kLanes ? depth - done : kLanes;
    for (int64_t p = 0; p < count; ++p) {
      add_product<Tiles::kFloats>(sum, from + p, b + (done + p) * kLanes, b_plane);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      _mm512_storeu_ps(c.values + j * c.plane + i * Tiles::kFloats, sum[i][j]);
    }
  }
}

// Inputs by outputs.
template <int Rows, int Vectors>
void correlate_block(float* c, int64_t c_plane, const float* a, const Tiles& b, int64_t tiles,
                     bool add) {
  Lanes sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      sum[i][j] = add ? _mm512_loadu_ps(c + j * c_plane + i * kLanes) : _mm512_setzero_ps();
    }
  }
  const auto add_tile = [&](int64_t tile) __attribute__((always_inline)) {
    add_product<1>(sum, a + tile * Tiles::kFloats, b.values + tile * Tiles::kFloats, b.plane);
  };
  int64_t tile = 0;
  if constexpr (Vectors == 1) {  // a fifth faster; pairs of vectors are not
    for (; tile + 4 <= tiles; tile += 4) {
      add_tile(tile);
      add_tile(tile + 1);
      add_tile(tile + 2);
      add_tile(tile + 3);
    }
  }
#pragma GCC unroll 1
  for (; tile < tiles; ++tile) add_tile(tile);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) _mm512_storeu_ps(c + j * c_plane + i * kLanes, sum[i][j]);
  }
}

// By rows, one to eight and one to sixteen: pruned layers have any number of channels.
using CorrelateBlock = void(float* c, int64_t c_plane, const float* a, const Tiles& b,
                            int64_t tiles, bool add);
template <int Vectors, int... Rows>
struct CorrelateBlocks {
  static constexpr CorrelateBlock* kOf[] = {correlate_block<Rows, Vectors>...};
};
constexpr auto& kCorrelatePairs = CorrelateBlocks<2, 1, 2, 3, 4, 5, 6, 7, 8>::kOf;
constexpr auto& kCorrelateSingles =
    CorrelateBlocks<1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16>::kOf;

constexpr int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

inline Tiles element_of(const Tiles& tiles, int64_t e) {
  return {tiles.values + e * kLanes, tiles.plane};
}

}  // namespace

void multiply(const Tiles& results, const Tiles& sources, const float* weights, const float* bias,
              const Product& size) {
  const int64_t tiles = round_up(size.tiles, 8), out = round_up(size.out, kLanes);
  for (int64_t e = 0; e < kElements; ++e) {
    const Tiles c = element_of(results, e), a = element_of(sources, e);
    // What is added to this element reaches all sixteen outputs.
    const float* const start = e == kSumElement ? bias : nullptr;
    const auto block = [&]<int Rows, int Vectors>(int64_t tile, int64_t o) {
      multiply_block<Rows, Vectors>(c.at(o, tile), a.at(0, tile), weights + (e * out + o) * size.in,
                                    size.in * kLanes, start == nullptr ? nullptr : start + o,
                                    size.in);
    };
    int64_t o = 0;
    for (; o + 2 * kLanes <= out; o += 2 * kLanes) {
      for (int64_t tile = 0; tile < tiles; tile += 8) block.template operator()<8, 2>(tile, o);
    }
    if (o == out) continue;
    int64_t tile = 0;
    for (; tile + 16 <= tiles; tile += 16) block.template operator()<16, 1>(tile, o);
    if (tile < tiles) block.template operator()<8, 1>(tile, o);
  }
}

void correlate(float* products, const Tiles& sources, const Tiles& results, const Product& size,
               bool add) {
  const int64_t out = round_up(size.out, kLanes);
  for (int64_t e = 0; e < kElements; ++e) {
    const Tiles a = element_of(sources, e), b = element_of(results, e);
    for (int64_t o = 0; o < out; o += 2 * kLanes) {
      const bool pair = o + 2 * kLanes <= out;
      const int64_t most = pair ? 8 : 16;
      for (int64_t i = 0, rows; i < size.in; i += rows) {
        // No block reaches into the next sixteen channels, which lie elsewhere.
        rows = size.in - i < most ? size.in - i : most;
        const auto block = pair ? kCorrelatePairs[rows - 1] : kCorrelateSingles[rows - 1];
        block(products + (e * out + o) * size.in + i * kLanes, size.in * kLanes,
              a.at(i, 0).values + i % kLanes, b.at(o, 0), size.tiles, add);
      }
    }
  }
}

}  // namespace secateur::winograd
