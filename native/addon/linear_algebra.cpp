#include "addon/linear_algebra.h"

#include <cstring>
#include <utility>
#include <vector>

#include "addon/arguments.h"
#include "addon/background.h"
#include "aligned_memory.h"
#include "linear_algebra/cholesky.h"
#include "rank/rank.h"

namespace secateur {

namespace {

bool is_array_of(const Napi::Value& value, napi_typedarray_type type) {
  return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
}

std::vector<double> doubles_argument(const Napi::CallbackInfo& info, const Napi::Value& value) {
  if (!is_array_of(value, napi_float64_array)) refuse_argument(info, "a Float64Array");
  const auto bytes = bytes_argument(info, value);
  std::vector<double> numbers(bytes.size() / sizeof(double));
  if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
  return numbers;
}

Napi::Value wrap(Napi::Env env, const std::vector<double>& from) {
  auto array = Napi::Float64Array::New(env, from.size());
  if (!from.empty()) std::memcpy(array.Data(), from.data(), from.size() * sizeof(double));
  return array;
}

}  // namespace

Napi::Value cholesky_solve_async(const Napi::CallbackInfo& info) {
  auto gram = doubles_argument(info, info[0]), rhs = doubles_argument(info, info[1]);
  const int64_t n = int_argument(info, info[2]), m = int_argument(info, info[3]);
  const double ridge = info[4].ToNumber().DoubleValue();
  return promised<std::vector<double>>(
      info.Env(),
      [gram = std::move(gram), rhs = std::move(rhs), n, m, ridge]() mutable {
        cholesky_solve(gram, rhs, n, m, ridge);
        return std::move(rhs);
      },
      wrap);
}

Napi::Value ranks(const Napi::CallbackInfo& info) {
  if (!is_array_of(info[0], napi_float32_array)) refuse_argument(info, "a Float32Array");
  const auto data = bytes_argument(info, info[0]);
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
