// Refusals of the CUDA runtime as coded errors.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "error.h"

namespace secateur::cuda {

// `what` completes the sentence "The GPU could not ...".
inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw Error("addon-failed",
              std::string("The GPU could not ") + what + " (" + cudaGetErrorString(error) + ").");
}

}  // namespace secateur::cuda
