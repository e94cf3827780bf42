#include "addon/linear_algebra.h"

#include <cstring>
#include <optional>
#include <vector>

#include "addon/arguments.h"
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

class CholeskyWorker : public Napi::AsyncWorker {
 public:
  explicit CholeskyWorker(const Napi::CallbackInfo& info)
      : Napi::AsyncWorker(info.Env()),
        deferred_(Napi::Promise::Deferred::New(info.Env())),
        gram_(doubles_argument(info, info[0])),
        rhs_(doubles_argument(info, info[1])),
        n_(int_argument(info, info[2])),
        m_(int_argument(info, info[3])),
        ridge_(info[4].ToNumber().DoubleValue()) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      cholesky_solve(gram_, rhs_, n_, m_, ridge_);
    } catch (...) {
      failure_ = current_failure();
    }
  }

  void OnOK() override {
    if (failure_) {
      deferred_.Reject(failure_->in(Env()).Value());
      return;
    }
    auto solution = Napi::Float64Array::New(Env(), rhs_.size());
    std::memcpy(solution.Data(), rhs_.data(), rhs_.size() * sizeof(double));
    deferred_.Resolve(solution);
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::vector<double> gram_, rhs_;
  int64_t n_, m_;
  double ridge_;
  std::optional<Failure> failure_;
};

}  // namespace

Napi::Value cholesky_solve_async(const Napi::CallbackInfo& info) {
  auto* const worker = new CholeskyWorker(info);  // deletes itself when done
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
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
