// Element by element: relu, additions, conversions, gates.

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace elementwise {

// A NaN stays one.
__device__ __forceinline__ float rectified(float value) { return value < 0 ? 0 : value; }

template <class T>
struct Relu {
  const T* x;
  T* y;
  __device__ void operator()(int64_t i) const { y[i] = stored<T>(rectified(to_float(x[i]))); }
};

template <class T>
struct ReluBackward {
  const T *dy, *y;
  T* dx;
  __device__ void operator()(int64_t i) const { dx[i] = to_float(y[i]) > 0 ? dy[i] : T{}; }
};

template <class T>
struct Add {
  const T *a, *b;
  T* y;
  bool relu;
  __device__ void operator()(int64_t i) const {
    const float sum = to_float(a[i]) + to_float(b[i]);
    y[i] = stored<T>(relu ? rectified(sum) : sum);
  }
};

template <class From, class To>
struct Cast {
  const From* x;
  To* y;
  __device__ void operator()(int64_t i) const { y[i] = stored<To>(to_float(x[i])); }
};

template <class T>
struct Gate {
  const T* x;
  const float* gates;
  T* y;
  int64_t elements, channels, first_image, sources, images_per_row;
  bool repeats;
  __device__ void operator()(int64_t i) const {
    const int64_t image = i / elements, within = i % elements;
    const int64_t global = first_image + image, row = global / images_per_row;
    const int64_t from = repeats ? global % sources : image;
    const float gate = gates[row * channels + within % channels];
    y[i] = stored<T>(to_float(x[from * elements + within]) * gate);
  }
};

}  // namespace elementwise

KernelPointer relu_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * elements,
               elementwise::Relu<T>{as<T>(s.inputs[0]), as<T>(s.outputs[0])});
    });
  });
}

KernelPointer relu_backward_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * elements,
               elementwise::ReluBackward<T>{as<T>(s.inputs[0]), as<T>(s.inputs[1]),
                                            as<T>(s.outputs[0])});
    });
  });
}

KernelPointer add_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  const bool relu = call.integer(0) == 1;
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * elements,
               elementwise::Add<T>{as<T>(s.inputs[0]), as<T>(s.inputs[1]), as<T>(s.outputs[0]),
                                   relu});
    });
  });
}

KernelPointer cast_kernel(const Call& call) {
  const int64_t elements = call.input(0)->elements();
  return with_number(is_bf16(*call.input(0)), [&](auto from) {
    return with_number(is_bf16(*call.output(0)), [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      return simple_kernel([=](const Slice& s) {
        for_each(s.stream, s.images * elements,
                 elementwise::Cast<From, To>{as<From>(s.inputs[0]), as<To>(s.outputs[0])});
      });
    });
  });
}

KernelPointer gate_kernel(const Call& call) {
  const Extents extents = call.input_extents(0);
  const int64_t rows = call.input(1)->elements() / extents.channels;
  const int64_t sources = call.input(0)->images, images = call.entry.images;
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      for_each(s.stream, s.images * extents.elements(),
               elementwise::Gate<T>{as<T>(s.inputs[0]), as<float>(s.inputs[1]),
                                    as<T>(s.outputs[0]), extents.elements(), extents.channels,
                                    s.first_image, sources, images / rows, sources < images});
    });
  });
}

}  // namespace secateur::cuda
