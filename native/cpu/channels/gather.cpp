// Zero padding, strided slices and channel maps in one, and its gradient.

#include <algorithm>
#include <cstring>

#include "cpu/kernels.h"
#include "cpu/parts.h"
#include "cpu/simd/vector_kernels.h"
#include "error.h"
#include "program/shapes/gather_shape.h"

namespace secateur {

namespace {

// Calls visit(y pixel, x pixel or -1 outside the picture) for rows of y.
template <class Visit>
void each_pixel(const GatherShape& s, const Range& rows, Visit visit) {
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const int64_t row = i * s.stride_height + s.start_row;
    for (int64_t j = 0; j < s.out_width; ++j) {
      const int64_t column = j * s.stride_width + s.start_column;
      const bool inside = row >= 0 && row < s.in_height && column >= 0 && column < s.in_width;
      visit(i * s.out_width + j, inside ? row * s.in_width + column : -1);
    }
  }
}

// Whether the map is a run of channels, as slices and the parts of a concatenation are.
bool is_run(const GatherShape& s, const int32_t* map) {
  if (map[0] < 0) return false;
  for (int64_t k = 1; k < s.out_channels; ++k) {
    if (map[k] != map[0] + k) return false;
  }
  return true;
}

// The map is fed at run time, so it is checked there.
void check_map(const GatherShape& s, const int32_t* map) {
  for (int64_t k = 0; k < s.out_channels; ++k) {
    if (map[k] >= -1 && map[k] < s.in_channels) continue;
    throw Error("program-invalid", "Expected a channel map with entries from -1 to " +
                                       std::to_string(s.in_channels - 1) + ", found " +
                                       std::to_string(map[k]) + " for channel " +
                                       std::to_string(k) + ".");
  }
}

template <class T>
class Gather final : public Kernel {
 public:
  explicit Gather(const GatherShape& shape) : shape_(shape) {}

  int64_t parts() const override {
    return parts_of_pass(shape_.out_height, shape_.out_elements());
  }

  void run(const Slice& slice) const override {
    const auto* const map = static_cast<const int32_t*>(slice.inputs[1]);
    check_map(shape_, map);
    const bool run = is_run(shape_, map);
    const Range rows = part_of(shape_.out_height, 1, slice);
    const auto bytes = static_cast<size_t>(shape_.out_channels) * sizeof(T);
    for (int64_t image = 0; image < slice.images; ++image) {
      const T* const x = static_cast<const T*>(slice.inputs[0]) + image * shape_.in_elements();
      T* const y = static_cast<T*>(slice.outputs[0]) + image * shape_.out_elements();
      each_pixel(shape_, rows, [&](int64_t to, int64_t from) {
        T* const target = y + to * shape_.out_channels;
        if (from < 0) {
          std::memset(target, 0, bytes);
          return;
        }
        const T* const source = x + from * shape_.in_channels;
        if (run) {
          std::memcpy(target, source + map[0], bytes);
          return;
        }
        for (int64_t k = 0; k < shape_.out_channels; ++k) {
          target[k] = map[k] < 0 ? T{} : source[map[k]];
        }
      });
    }
  }

 private:
  const GatherShape shape_;
};

// A channel may be used more than once: its gradients add up in f32.
template <class T>
class GatherBackward final : public Kernel {
 public:
  explicit GatherBackward(const GatherShape& shape) : vectors_(vector_kernels()), shape_(shape) {}

  int64_t scratch_bytes() const override {
    return shape_.in_channels * static_cast<int64_t>(sizeof(float));
  }

  void run(const Slice& slice) const override {
    const auto* const map = static_cast<const int32_t*>(slice.inputs[1]);
    check_map(shape_, map);
    const bool run = is_run(shape_, map);
    float* const sums = static_cast<float*>(slice.scratch);
    for (int64_t image = 0; image < slice.images; ++image) {
      const T* const dy = static_cast<const T*>(slice.inputs[0]) + image * shape_.out_elements();
      T* const dx = static_cast<T*>(slice.outputs[0]) + image * shape_.in_elements();
      std::memset(dx, 0, static_cast<size_t>(shape_.in_elements()) * sizeof(T));
      each_pixel(shape_, {0, shape_.out_height}, [&](int64_t from, int64_t to) {
        if (to < 0) return;
        const T* const source = dy + from * shape_.out_channels;
        if (run) {
          std::copy_n(source, shape_.out_channels, dx + to * shape_.in_channels + map[0]);
          return;
        }
        std::fill_n(sums, shape_.in_channels, 0.0f);
        for (int64_t k = 0; k < shape_.out_channels; ++k) {
          if (map[k] >= 0) sums[map[k]] += to_float(source[k]);
        }
        store(sums, dx + to * shape_.in_channels);
      });
    }
  }

 private:
  void store(const float* sums, bfloat16* to) const {
    vectors_.narrow(sums, shape_.in_channels, to);
  }
  void store(const float* sums, float* to) const { std::copy_n(sums, shape_.in_channels, to); }

  const VectorKernels& vectors_;
  const GatherShape shape_;
};

}  // namespace

KernelPointer gather_kernel(const Call& call) {
  const GatherShape s = GatherShape::parse(call);
  if (is_bf16(*call.input(0))) return std::make_unique<Gather<bfloat16>>(s);
  return std::make_unique<Gather<float>>(s);
}

KernelPointer gather_backward_kernel(const Call& call) {
  const GatherShape s = GatherShape::parse(call);
  if (is_bf16(*call.input(0))) return std::make_unique<GatherBackward<bfloat16>>(s);
  return std::make_unique<GatherBackward<float>>(s);
}

}  // namespace secateur
