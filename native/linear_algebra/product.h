// Matrix products in f64, the work inside factorisations.
#pragma once

#include <cstdint>
#include <vector>

namespace secateur {

// target[rows, columns] -= left[rows, depth] * right[depth, columns]; row-major with strides.
struct Product {
  double* target;
  const double* left;
  const double* right;
  int64_t target_stride, left_stride, right_stride;
  int64_t rows, columns, depth;
};

using SubtractProduct = void (*)(const Product&);

// [columns, rows] of row-major [rows, columns].
std::vector<double> transposed(const double* from, int64_t stride, int64_t rows, int64_t columns);

// The form for the widest instruction set that this process may use.
SubtractProduct subtract_product();

}  // namespace secateur
