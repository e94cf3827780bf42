// The table of this instruction set's inner loops. Included by the simd_*.cpp files; see simd.h.
#pragma once

#include "cpu/simd/channels.h"
#include "cpu/simd/convolution.h"
#include "cpu/simd/depthwise.h"
#include "cpu/simd/outer.h"
#include "cpu/simd/pool.h"
#include "cpu/simd/simd.h"

namespace secateur {
namespace {

const VectorKernels kVectorKernels = {
    .lanes = kLanes,
    .convolve = convolve,
    .convolve_depthwise = convolve_depthwise,
    .accumulate = accumulate<float>,
    .accumulate_f64 = accumulate<double>,
    .accumulate_depthwise = accumulate_depthwise,
    .widen = widen_all,
    .narrow = narrow_all,
    .add = flat_pass<Add>,
    .relu = flat_pass<Relu>,
    .relu_backward = flat_pass<ReluBackward>,
    .multiply = table_pass<Multiply>,
    .column_sums = table_pass<ColumnSums>,
    .moments = table_pass<Moments>,
    .normalise = normalise,
    .normalise_backward_sums = normalise_backward_sums,
    .normalise_backward = normalise_backward,
    .max_pool = max_pool,
    .average_pool = average_pool,
};

}  // namespace
}  // namespace secateur
