// Linear algebra that runs outside sessions.
#pragma once

#include <napi.h>

namespace secateur {

// (gram: Float64Array, rhs: Float64Array, n: number, m: number, ridge: number):
// Promise<Float64Array>; see cholesky.h. Copies its arguments and runs in the background.
Napi::Value cholesky_solve_async(const Napi::CallbackInfo& info);

// (data: Float32Array, count: number, rows: number, columns: number): Int32Array; see rank/rank.h.
Napi::Value ranks(const Napi::CallbackInfo& info);

}  // namespace secateur
