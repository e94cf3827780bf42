#include "addon/linear_algebra.h"

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/background.h"
#include "addon/numbers.h"
#include "aligned_memory.h"
#include "linear_algebra/cholesky.h"
#include "rank/rank.h"

namespace secateur {

Napi::Value cholesky_solve_async(const Napi::CallbackInfo& info) {
  auto gram = doubles_argument(info, info[0]), rhs = doubles_argument(info, info[1]);
  const int64_t n = int_argument(info, info[2]), m = int_argument(info, info[3]);
  const double ridge = info[4].ToNumber().DoubleValue();
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  return promised<std::vector<double>>(
      info.Env(),
      [gram = std::move(gram), rhs = std::move(rhs), n, m, ridge, cancelled]() mutable {
        cholesky_solve(gram, rhs, n, m, ridge, *cancelled);
        return std::move(rhs);
      },
      array_of<double>, [cancelled] { *cancelled = true; });
}

Napi::Value ranks(const Napi::CallbackInfo& info) {
  const auto data = bytes_argument(info, info[0], napi_float32_array, "a Float32Array");
  const int64_t count = int_argument(info, info[1]);
  const int rows = int_argument(info, info[2]), columns = int_argument(info, info[3]);
  return guarded(info.Env(), [&]() -> Napi::Value {
    const size_t scratch_bytes = rank_scratch_bytes(rows, columns);
    const int64_t elements = int64_t{rows} * columns;
    const int64_t matrix_bytes = elements * int64_t{sizeof(float)};
    const auto bytes = static_cast<int64_t>(data.size());
    if (scratch_bytes == 0 || bytes % matrix_bytes != 0 || bytes / matrix_bytes != count) {
      throw Error("program-invalid", "Expected " + std::to_string(count) + " matrices of " +
                                         std::to_string(rows) + " x " + std::to_string(columns) +
                                         " f32 numbers, found " + std::to_string(data.size()) +
                                         " bytes.");
    }
    const Memory scratch(static_cast<int64_t>(scratch_bytes), "scratch of the ranks");
    auto result = Napi::Int32Array::New(info.Env(), static_cast<size_t>(count));
    numerical_ranks(reinterpret_cast<const float*>(data.data()), count, rows, columns, elements,
                    columns, 1, result.Data(), scratch.data());
    return result;
  });
}

}  // namespace secateur
