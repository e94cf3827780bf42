#include "winograd_kernels.h"

// GCC 12 takes its own "undefined" operands for mistakes of ours.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

// Only plain code here: a template or inline function shared with other files could be linked in
// its AVX-512 form for them too.
namespace secateur::winograd {

namespace {

using Lanes = __m512;

constexpr int64_t kLanes = 16;

__mmask16 lanes_at(int64_t channel, int64_t channels) {
  const int64_t left = channels - channel;
  return left >= kLanes ? static_cast<__mmask16>(0xffff)
                        : static_cast<__mmask16>((1u << left) - 1);
}

Lanes widen(__m256i values) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(values), 16));
}

// To nearest even; a NaN stays one.
__m512i rounded_bits(Lanes values) {
  const __m512i bits = _mm512_castps_si512(values);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i sum =
      _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(sum, nan, bits, _mm512_set1_epi32(0x400000));
}

Lanes load(const Image& image, int64_t at, __mmask16 lanes) {
  if (!image.bf16) return _mm512_maskz_loadu_ps(lanes, static_cast<const float*>(image.values) + at);
  return widen(_mm256_maskz_loadu_epi16(lanes, static_cast<const uint16_t*>(image.values) + at));
}

void store(const Image& image, int64_t at, __mmask16 lanes, Lanes values) {
  if (!image.bf16) {
    _mm512_mask_storeu_ps(static_cast<float*>(image.values) + at, lanes, values);
    return;
  }
  const __m256i narrow = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded_bits(values), 16));
  _mm256_mask_storeu_epi16(static_cast<uint16_t*>(image.values) + at, lanes, narrow);
}

Lanes times(float factor, Lanes a, Lanes b) {  // factor * a + b
  return _mm512_fmadd_ps(_mm512_set1_ps(factor), a, b);
}

struct Six {
  Lanes v[6];
};

// B^T d
inline Six input_row(Lanes d0, Lanes d1, Lanes d2, Lanes d3, Lanes d4, Lanes d5) {
  const Lanes a = times(-4, d2, d4), b = times(-4, d1, d3), c = d4 - d2, d = d3 - d1;
  return {{times(4, d0, a - d2), a + b, a - b, times(2, d, c), times(-2, d, c),
           times(-4, d, d5 - d3)}};
}

// The gradient's filter: powers of the points 0, 1, -1, 2, -2 and infinity.
inline Six gradient_row(Lanes g0, Lanes g1, Lanes g2, Lanes g3) {
  const Lanes even = g0 + g2, odd = g1 + g3, even2 = times(4, g2, g0), odd2 = times(4, g3, g1);
  return {{g0, even + odd, even - odd, times(2, odd2, even2), times(-2, odd2, even2), g3}};
}

struct Four {
  Lanes v[4];
};

// A^T m
inline Four output_row(Lanes m0, Lanes m1, Lanes m2, Lanes m3, Lanes m4, Lanes m5) {
  const Lanes s1 = m1 + m2, d1 = m1 - m2, s2 = m3 + m4, d2 = m3 - m4;
  return {{m0 + s1 + s2, times(2, d2, d1), times(4, s2, s1), times(8, d2, d1 + m5)}};
}

struct Three {
  Lanes v[3];
};

// The gradient's A^T, with the scales that its filter's transform left out.
inline Three weight_row(Lanes m0, Lanes m1, Lanes m2, Lanes m3, Lanes m4, Lanes m5) {
  const Lanes sixth = _mm512_set1_ps(-1.0f / 6), twentyfourth = _mm512_set1_ps(1.0f / 24);
  const Lanes s1 = (m1 + m2) * sixth, d1 = (m1 - m2) * sixth;
  const Lanes s2 = (m3 + m4) * twentyfourth, d2 = (m3 - m4) * twentyfourth;
  return {{times(0.25f, m0, s1 + s2), times(2, d2, d1), times(4, s2, s1 + m5)}};
}

// G g
inline Six filter_row(Lanes g0, Lanes g1, Lanes g2) {
  const Lanes sixth = _mm512_set1_ps(-1.0f / 6), twentyfourth = _mm512_set1_ps(1.0f / 24);
  const Lanes even = g0 + g2, even2 = times(4, g2, g0);
  return {{_mm512_set1_ps(0.25f) * g0, sixth * (even + g1), sixth * (even - g1),
           twentyfourth * times(2, g1, even2), twentyfourth * times(-2, g1, even2), g2}};
}

// One block of a product. a[i, p] is at a[i * RowStep + p * DepthStep]; sums[i, j] at
// sums[j * sums_plane + i * 16], b[p, j] at b[j * b_plane + p * 16].
template <int Rows, int Vectors, int RowStep, int DepthStep>
inline void add_products(Lanes (&sum)[Rows][Vectors], const float* a, const float* b,
                         int64_t b_plane, int64_t depth) {
  for (int64_t p = 0; p < depth; ++p) {
    Lanes right[Vectors];
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) right[j] = _mm512_loadu_ps(b + p * kLanes + j * b_plane);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Lanes left = _mm512_set1_ps(a[i * RowStep + p * DepthStep]);
#pragma GCC unroll 2
      for (int j = 0; j < Vectors; ++j) sum[i][j] = _mm512_fmadd_ps(left, right[j], sum[i][j]);
    }
  }
}

template <int Rows, int Vectors>
void multiply_block(const Planes& c, const Planes& a, const Planes& b, int64_t depth) {
  Lanes sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) sum[i][j] = _mm512_setzero_ps();
  }
  for (int64_t done = 0; done < depth; done += kLanes) {
    const int64_t left = depth - done;
    add_products<Rows, Vectors, kLanes, 1>(sum, a.values + done / kLanes * a.plane,
                                           b.values + done * kLanes, b.plane,
                                           left < kLanes ? left : kLanes);
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      _mm512_storeu_ps(c.values + j * c.plane + i * kLanes, sum[i][j]);
    }
  }
}

template <int Rows, int Vectors>
void correlate_block(const Planes& c, const Planes& a, const Planes& b, int64_t depth, bool add) {
  Lanes sum[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      sum[i][j] =
          add ? _mm512_loadu_ps(c.values + j * c.plane + i * kLanes) : _mm512_setzero_ps();
    }
  }
  add_products<Rows, Vectors, 1, kLanes>(sum, a.values, b.values, b.plane, depth);
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Vectors; ++j) {
      _mm512_storeu_ps(c.values + j * c.plane + i * kLanes, sum[i][j]);
    }
  }
}

}  // namespace

void pad_image(float* padded, int64_t rows, int64_t columns, int64_t top, int64_t left,
               const Image& image) {
  const int64_t width = (image.channels + kLanes - 1) / kLanes * kLanes;
  const auto clear = [&](float* from, float* to) {
    for (; from < to; from += kLanes) _mm512_storeu_ps(from, _mm512_setzero_ps());
  };
  const int64_t right = columns - left - image.width;
  for (int64_t row = 0; row < rows; ++row) {
    float* to = padded + row * columns * width;
    if (row < top || row >= top + image.height) {
      clear(to, to + columns * width);
      continue;
    }
    clear(to, to + left * width);
    to += left * width;
    const int64_t begin = (row - top) * image.width;
    if (image.channels == width) {
      for (int64_t i = 0; i < image.width * width; i += kLanes, to += kLanes) {
        _mm512_storeu_ps(to, load(image, begin * width + i, 0xffff));
      }
      clear(to, to + right * width);
      continue;
    }
    for (int64_t x = begin; x < begin + image.width; ++x) {
      for (int64_t c = 0; c < image.channels; c += kLanes, to += kLanes) {
        _mm512_storeu_ps(to, load(image, x * image.channels + c, lanes_at(c, image.channels)));
      }
    }
    clear(to, to + right * width);
  }
}

void transform_input(const Planes& elements, int64_t element_stride, const float* pixels,
                     int64_t row_stride, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    float* const to = elements.at(c, 0).values;
    Six half[6];
    for (int64_t i = 0; i < 6; ++i) {
      const float* const row = pixels + c + i * row_stride;
      const auto at = [&](int64_t j) { return _mm512_loadu_ps(row + j * channels); };
      half[i] = input_row(at(0), at(1), at(2), at(3), at(4), at(5));
    }
    for (int64_t j = 0; j < 6; ++j) {
      const Six done = input_row(half[0].v[j], half[1].v[j], half[2].v[j], half[3].v[j],
                                 half[4].v[j], half[5].v[j]);
      for (int64_t i = 0; i < 6; ++i) {
        _mm512_storeu_ps(to + (i * 6 + j) * element_stride, done.v[i]);
      }
    }
  }
}

void transform_gradient(const Planes& elements, int64_t element_stride, const float* pixels,
                        int64_t row_stride, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    float* const to = elements.at(c, 0).values;
    Six half[4];
    for (int64_t i = 0; i < 4; ++i) {
      const float* const row = pixels + c + i * row_stride;
      const auto at = [&](int64_t j) { return _mm512_loadu_ps(row + j * channels); };
      half[i] = gradient_row(at(0), at(1), at(2), at(3));
    }
    for (int64_t j = 0; j < 6; ++j) {
      const Six done = gradient_row(half[0].v[j], half[1].v[j], half[2].v[j], half[3].v[j]);
      for (int64_t i = 0; i < 6; ++i) {
        _mm512_storeu_ps(to + (i * 6 + j) * element_stride, done.v[i]);
      }
    }
  }
}

void multiply(const Planes& c, const Planes& a, const Planes& b, int64_t rows, int64_t columns,
              int64_t depth) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes) {
    for (int64_t i = 0; i < rows; i += 8) {
      multiply_block<8, 2>(c.at(j, i), a.at(0, i), b.at(j, 0), depth);
    }
  }
  if (j == columns) return;
  int64_t i = 0;
  for (; i + 16 <= rows; i += 16) {
    multiply_block<16, 1>(c.at(j, i), a.at(0, i), b.at(j, 0), depth);
  }
  if (i < rows) multiply_block<8, 1>(c.at(j, i), a.at(0, i), b.at(j, 0), depth);
}

void correlate(const Planes& c, const Planes& a, const Planes& b, int64_t rows, int64_t columns,
               int64_t depth, bool add) {
  const auto from = [&](int64_t i) { return Planes{a.at(i, 0).values + i % kLanes, a.plane}; };
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes) {
    for (int64_t i = 0; i < rows; i += 8) {
      correlate_block<8, 2>(c.at(j, i), from(i), b.at(j, 0), depth, add);
    }
  }
  if (j == columns) return;
  int64_t i = 0;
  for (; i + 16 <= rows; i += 16) {
    correlate_block<16, 1>(c.at(j, i), from(i), b.at(j, 0), depth, add);
  }
  if (i < rows) correlate_block<8, 1>(c.at(j, i), from(i), b.at(j, 0), depth, add);
}

void transform_output(const Image& image, int64_t row, int64_t column, const Planes& elements,
                      int64_t element_stride, const Epilogue& epilogue) {
  const int64_t rows = image.height - row < kTile ? image.height - row : kTile;
  const int64_t columns = image.width - column < kTile ? image.width - column : kTile;
  for (int64_t c = 0; c < image.channels; c += kLanes) {
    Four half[6];
    for (int64_t j = 0; j < 6; ++j) {
      const float* const m = elements.at(c, 0).values + j * element_stride;
      const auto at = [&](int64_t i) { return _mm512_loadu_ps(m + i * 6 * element_stride); };
      half[j] = output_row(at(0), at(1), at(2), at(3), at(4), at(5));
    }
    const __mmask16 lanes = lanes_at(c, image.channels);
    const Lanes bias =
        epilogue.bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(epilogue.bias + c);
    for (int64_t i = 0; i < rows; ++i) {
      const Four done = output_row(half[0].v[i], half[1].v[i], half[2].v[i], half[3].v[i],
                                   half[4].v[i], half[5].v[i]);
      const int64_t first = ((row + i) * image.width + column) * image.channels + c;
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t at = first + j * image.channels;
        Lanes y = done.v[j] + bias;
        if (epilogue.residual != nullptr) y += load(*epilogue.residual, at, lanes);
        if (epilogue.relu) y = _mm512_max_ps(_mm512_setzero_ps(), y);  // keeps a NaN
        store(image, at, lanes, y);
      }
    }
  }
}

void transform_weights_gradient(float* weights, int64_t weight_stride, const float* elements,
                                int64_t element_stride, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Three half[6];
    for (int64_t j = 0; j < 6; ++j) {
      const float* const m = elements + j * element_stride + c;
      const auto at = [&](int64_t i) { return _mm512_loadu_ps(m + i * 6 * element_stride); };
      half[j] = weight_row(at(0), at(1), at(2), at(3), at(4), at(5));
    }
    for (int64_t i = 0; i < 3; ++i) {
      const Three done = weight_row(half[0].v[i], half[1].v[i], half[2].v[i], half[3].v[i],
                                    half[4].v[i], half[5].v[i]);
      for (int64_t j = 0; j < 3; ++j) {
        _mm512_storeu_ps(weights + (i * 3 + j) * weight_stride + c, done.v[j]);
      }
    }
  }
}

void transform_weights(float* elements, int64_t element_stride, const float* weights, bool bf16) {
  Six half[3];
  const auto at = [&](int64_t i) {
    const Lanes given = _mm512_loadu_ps(weights + i * kLanes);
    if (!bf16) return given;
    return _mm512_castsi512_ps(_mm512_and_si512(rounded_bits(given), _mm512_set1_epi32(-65536)));
  };
  for (int64_t i = 0; i < 3; ++i) half[i] = filter_row(at(i * 3), at(i * 3 + 1), at(i * 3 + 2));
  for (int64_t j = 0; j < 6; ++j) {
    const Six done = filter_row(half[0].v[j], half[1].v[j], half[2].v[j]);
    for (int64_t i = 0; i < 6; ++i) {
      _mm512_storeu_ps(elements + (i * 6 + j) * element_stride, done.v[i]);
    }
  }
}

}  // namespace secateur::winograd
