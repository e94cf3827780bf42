// Activations and products element by element, compiled once per instruction set
// (element_avx512.cpp, element_avx2.cpp, element_generic.cpp) and chosen when kernels are built.
#pragma once

#include <cstdint>

namespace secateur {

constexpr int kActivationKinds = 10;  // as operations.def numbers them

// A flat stretch of elements of one type.
struct ElementSweep {
  int64_t elements;
  const void* x;
  const void* second;  // dy, or the other factor
  void* y;
  float alpha, beta;
};

typedef void (*ElementPass)(const ElementSweep&);

// [0] for f32, [1] for bf16.
struct ElementKernels {
  // y = f(x).
  ElementPass activation[kActivationKinds][2];
  // y = second * f'(x).
  ElementPass activation_backward[kActivationKinds][2];
  // y = x * second.
  ElementPass product[2];
};

// The widest this processor has and SECATEUR_ISA allows.
const ElementKernels& element_kernels();

}  // namespace secateur
