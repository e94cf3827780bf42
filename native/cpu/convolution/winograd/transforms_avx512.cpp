// Transforms of pixels to tiles, and those of weights and their gradients.

#include "cpu/convolution/winograd/kernels.h"
#include "cpu/convolution/winograd/lanes.h"

namespace secateur::winograd {

namespace {

// The pixels of a tile, some of which may lie around the image: rows and columns are tested once a
// tile, and what lies outside is read as zero from an address that is not touched.
template <class T, int Size>
class Pixels {
 public:
  Pixels(const Image& image, int64_t row, int64_t column)
      : channels_(image.channels), first_column_(column), width_(image.width) {
    const T* const values = static_cast<const T*>(image.values);
    for (int i = 0; i < Size; ++i) {
      inside_[i] = row + i >= 0 && row + i < image.height;
      rows_[i] = values + ((inside_[i] ? row + i : 0) * image.width + column) * image.channels;
    }
  }

  void select(int64_t channel) {
    channel_ = channel;
    const __mmask16 lanes = lanes_at(channel, channels_);
    for (int i = 0; i < Size; ++i) lanes_[i] = inside_[i] ? lanes : 0;
  }

  bool has_column(int64_t j) const {
    return static_cast<uint64_t>(first_column_ + j) < static_cast<uint64_t>(width_);
  }

  Lanes at(int64_t i, int64_t j) const {
    return read(rows_[i] + j * channels_ + channel_, lanes_[i]);
  }

 private:
  const T* rows_[Size];
  bool inside_[Size];
  __mmask16 lanes_[Size];
  int64_t channels_, channel_ = 0, first_column_, width_;
};

// 6x6 elements from Size x Size pixels; row_of(pixels of a column or row) is the transform of one.
template <class T, int Size, class RowOf>
inline void transform_tile(const Tiles& tiles, const Image& image, int64_t row, int64_t column,
                           const RowOf& row_of) {
  Pixels<T, Size> pixels(image, row, column);
  float* to = tiles.values;
  for (int64_t c = 0; c < image.channels; c += kLanes, to += tiles.plane) {
    pixels.select(c);
    alignas(64) float half[6][Size][kLanes];
#pragma GCC unroll 6
    for (int j = 0; j < Size; ++j) {
      Row<6> done{};
      if (pixels.has_column(j)) {
        done = row_of([&](int i) { return pixels.at(i, j); });
      }
#pragma GCC unroll 6
      for (int i = 0; i < 6; ++i) _mm512_store_ps(half[i][j], done.v[i]);
    }
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) {
      const Row<6> done = row_of([&](int j) { return _mm512_load_ps(half[i][j]); });
#pragma GCC unroll 6
      for (int j = 0; j < 6; ++j) _mm512_storeu_ps(to + (i * 6 + j) * kLanes, done.v[j]);
    }
  }
}

template <class T>
void transform_input_of(const Tiles& tiles, const Image& image, int64_t row, int64_t column) {
  transform_tile<T, 6>(tiles, image, row, column, [](const auto& d) __attribute__((always_inline)) {
    return input_row(d(0), d(1), d(2), d(3), d(4), d(5));
  });
}

template <class T>
void transform_gradient_of(const Tiles& tiles, const Image& image, int64_t row, int64_t column) {
  transform_tile<T, 4>(tiles, image, row, column, [](const auto& g) __attribute__((always_inline)) {
    return gradient_row(g(0), g(1), g(2), g(3));
  });
}

}  // namespace

void transform_input(const Tiles& tiles, const Image& image, int64_t row, int64_t column) {
  if (image.bf16) return transform_input_of<uint16_t>(tiles, image, row, column);
  transform_input_of<float>(tiles, image, row, column);
}

void transform_gradient(const Tiles& tiles, const Image& image, int64_t row, int64_t column) {
  if (image.bf16) return transform_gradient_of<uint16_t>(tiles, image, row, column);
  transform_gradient_of<float>(tiles, image, row, column);
}

void transform_weights_gradient(float* weights, int64_t weight_stride, const float* elements,
                                int64_t element_stride, int64_t channels) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Row<3> half[6];
    for (int64_t j = 0; j < 6; ++j) {
      const float* const m = elements + j * element_stride + c;
      const auto at = [&](int64_t i) { return _mm512_loadu_ps(m + i * 6 * element_stride); };
      half[j] = weight_row(at(0), at(1), at(2), at(3), at(4), at(5));
    }
    for (int64_t i = 0; i < 3; ++i) {
      const Row<3> done = weight_row(half[0].v[i], half[1].v[i], half[2].v[i], half[3].v[i],
                                     half[4].v[i], half[5].v[i]);
      for (int64_t j = 0; j < 3; ++j) {
        _mm512_storeu_ps(weights + (i * 3 + j) * weight_stride + c, done.v[j]);
      }
    }
  }
}

void transform_weights(float* elements, int64_t element_stride, const float* weights, bool bf16) {
  Row<6> half[3];
  const auto at = [&](int64_t i) {
    const Lanes given = _mm512_loadu_ps(weights + i * kLanes);
    if (!bf16) return given;
    return _mm512_castsi512_ps(_mm512_and_si512(rounded_bits(given), _mm512_set1_epi32(-65536)));
  };
  for (int64_t i = 0; i < 3; ++i) half[i] = filter_row(at(i * 3), at(i * 3 + 1), at(i * 3 + 2));
  for (int64_t j = 0; j < 6; ++j) {
    const Row<6> done = filter_row(half[0].v[j], half[1].v[j], half[2].v[j]);
    for (int64_t i = 0; i < 6; ++i) {
      _mm512_storeu_ps(elements + (i * 6 + j) * element_stride, done.v[i]);
    }
  }
}

}  // namespace secateur::winograd
