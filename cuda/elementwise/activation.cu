// Activations other than relu, and their gradients.

#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace activation {

enum class Kind {
  sigmoid,
  silu,
  hard_sigmoid,
  hard_swish,
  gelu,
  gelu_tanh,
  leaky_relu,
  clip,
  tanh,
  elu,
  count
};

__device__ __forceinline__ float sigmoid(float x) { return 1 / (1 + expf(-x)); }

// The standard normal distribution function, and its density.
__device__ __forceinline__ float below(float x) { return 0.5f * erfcf(-0.70710678f * x); }
__device__ __forceinline__ float bell(float x) { return 0.39894228f * expf(-0.5f * x * x); }

// GELU by tanh takes (1 + tanh u) / 2, which is the logistic function of 2 u.
constexpr float kTwiceRoot = 1.59576912f;  // 2 sqrt(2 / pi)
constexpr float kCubic = 0.044715f;
__device__ __forceinline__ float bent(float x) {
  return sigmoid(kTwiceRoot * x * fmaf(kCubic * x, x, 1.0f));
}

// A NaN stays one.
__device__ __forceinline__ float clipped(float x, float low, float high) {
  return x < low ? low : x > high ? high : x;
}

__device__ __forceinline__ bool inside(float x, float low, float high) {
  return x > low && x < high;
}

__device__ __forceinline__ float value(Kind kind, float x, float alpha, float beta) {
  switch (kind) {
    case Kind::sigmoid:
      return sigmoid(x);
    case Kind::silu:
      return x * sigmoid(x);
    case Kind::hard_sigmoid:
      return clipped(fmaf(alpha, x, beta), 0, 1);
    case Kind::hard_swish:
      return x * clipped(fmaf(alpha, x, beta), 0, 1);
    case Kind::gelu:
      return x * below(x);
    case Kind::gelu_tanh:
      return x * bent(x);
    case Kind::leaky_relu:
      return x < 0 ? alpha * x : x;
    case Kind::clip:
      return clipped(x, alpha, beta);
    case Kind::tanh:
      return tanhf(x);
    default:
      return x > 0 ? x : alpha * expm1f(x);
  }
}

// At kinks the slope of the flat or the lower side.
__device__ __forceinline__ float slope(Kind kind, float x, float alpha, float beta) {
  switch (kind) {
    case Kind::sigmoid: {
      const float s = sigmoid(x);
      return s * (1 - s);
    }
    case Kind::silu: {
      const float s = sigmoid(x);
      return s * fmaf(x, 1 - s, 1.0f);
    }
    case Kind::hard_sigmoid:
      return inside(fmaf(alpha, x, beta), 0, 1) ? alpha : 0;
    case Kind::hard_swish: {
      const float line = fmaf(alpha, x, beta);
      return clipped(line, 0, 1) + (inside(line, 0, 1) ? x * alpha : 0);
    }
    case Kind::gelu:
      return below(x) + x * bell(x);
    case Kind::gelu_tanh: {
      const float s = bent(x);
      return s + x * s * (1 - s) * kTwiceRoot * fmaf(3 * kCubic * x, x, 1.0f);
    }
    case Kind::leaky_relu:
      return x > 0 ? 1 : alpha;
    case Kind::clip:
      return inside(x, alpha, beta) ? 1 : 0;
    case Kind::tanh: {
      const float t = tanhf(x);
      return 1 - t * t;
    }
    default:
      return x > 0 ? 1 : alpha * expf(x);
  }
}

template <class T>
struct Forward {
  const T* x;
  T* y;
  Kind kind;
  float alpha, beta;
  __device__ void operator()(int64_t i) const {
    y[i] = stored<T>(value(kind, to_float(x[i]), alpha, beta));
  }
};

template <class T>
struct Backward {
  const T *dy, *x;
  T* dx;
  Kind kind;
  float alpha, beta;
  __device__ void operator()(int64_t i) const {
    dx[i] = stored<T>(to_float(dy[i]) * slope(kind, to_float(x[i]), alpha, beta));
  }
};

KernelPointer make(const Call& call, bool backward) {
  call.require_integer(0, 0, static_cast<int64_t>(Kind::count) - 1);
  const Value& x = *call.input(0);
  const auto kind = static_cast<Kind>(call.integer(0));
  const float alpha = call.real(0), beta = call.real(1);
  const int64_t elements = x.elements();
  return with_number(is_bf16(x), [&](auto number) {
    using T = decltype(number);
    return simple_kernel([=](const Slice& s) {
      const int64_t count = s.images * elements;
      if (backward) {
        for_each(s.stream, count,
                 Backward<T>{as<T>(s.inputs[0]), as<T>(s.inputs[1]), as<T>(s.outputs[0]), kind,
                             alpha, beta});
      } else {
        for_each(s.stream, count,
                 Forward<T>{as<T>(s.inputs[0]), as<T>(s.outputs[0]), kind, alpha, beta});
      }
    });
  });
}

}  // namespace activation

KernelPointer activation_kernel(const Call& call) { return activation::make(call, false); }
KernelPointer activation_backward_kernel(const Call& call) { return activation::make(call, true); }

}  // namespace secateur::cuda
