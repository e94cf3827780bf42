#include "addon/reproduction_object.h"

#include <cstring>
#include <utility>

#include "addon/arguments.h"
#include "addon/background.h"

namespace secateur {

namespace {

template <class T, napi_typedarray_type Type>
std::vector<T> numbers(const Napi::CallbackInfo& info, const Napi::Value& value, const char* what) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != Type) {
    refuse_argument(info, what);
  }
  const auto bytes = bytes_argument(info, value);
  std::vector<T> result(bytes.size() / sizeof(T));
  if (!result.empty()) std::memcpy(result.data(), bytes.data(), bytes.size());
  return result;
}

std::vector<double> doubles(const Napi::CallbackInfo& info, const Napi::Value& value) {
  return numbers<double, napi_float64_array>(info, value, "a Float64Array");
}

std::vector<int32_t> integers(const Napi::CallbackInfo& info, const Napi::Value& value) {
  return numbers<int32_t, napi_int32_array>(info, value, "an Int32Array");
}

template <class Array, class T>
Array array_of(Napi::Env env, const std::vector<T>& from) {
  auto array = Array::New(env, from.size());
  if (!from.empty()) std::memcpy(array.Data(), from.data(), from.size() * sizeof(T));
  return array;
}

Consumer consumer_of(const Napi::CallbackInfo& info, const Napi::Value& value) {
  if (!value.IsObject()) refuse_argument(info, "consumers");
  const auto object = value.As<Napi::Object>();
  Consumer consumer{.covariance = doubles(info, object.Get("covariance")),
                    .weights = doubles(info, object.Get("weights")),
                    .owners = integers(info, object.Get("owners"))};
  consumer.unknowns = static_cast<int64_t>(consumer.owners.size());
  if (consumer.unknowns > 0) {
    consumer.outputs = static_cast<int64_t>(consumer.weights.size()) / consumer.unknowns;
  }
  return consumer;
}

Napi::Value wrap_costs(Napi::Env env, const std::vector<double>& costs) {
  return array_of<Napi::Float64Array>(env, costs);
}

Napi::Value wrap_elimination(Napi::Env env, const Reproduction::Elimination& result) {
  auto object = Napi::Object::New(env);
  object.Set("players", array_of<Napi::Int32Array>(env, result.players));
  object.Set("costs", array_of<Napi::Float64Array>(env, result.costs));
  return object;
}

}  // namespace

Napi::Function ReproductionObject::define(Napi::Env env) {
  return DefineClass(env, "Reproduction",
                     {InstanceMethod<&ReproductionObject::walk>("walk"),
                      InstanceMethod<&ReproductionObject::remove>("remove"),
                      InstanceMethod<&ReproductionObject::eliminate>("eliminate"),
                      InstanceMethod<&ReproductionObject::cancel>("cancel")});
}

ReproductionObject::ReproductionObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ReproductionObject>(info), state_(std::make_shared<State>()) {
  std::vector<Consumer> consumers;
  for (const Napi::Value& item : list_argument(info, info[0])) {
    consumers.push_back(consumer_of(info, item));
  }
  const int32_t players = int_argument(info, info[1]);
  const double ridge = info[2].IsNumber() ? info[2].As<Napi::Number>().DoubleValue() : -1;
  guarded(info.Env(), [&] {
    state_->reproduction = std::make_unique<Reproduction>(std::move(consumers), players, ridge);
  });
}

Napi::Value ReproductionObject::walk(const Napi::CallbackInfo& info) {
  auto walks = integers(info, info[0]);
  const int32_t depth = int_argument(info, info[1]), threads = int_argument(info, info[2]);
  return promised<std::vector<double>>(
      info.Env(),
      [state = state_, walks = std::move(walks), depth, threads] {
        const std::lock_guard lock(state->busy);
        return state->reproduction->walk(walks, depth, threads, state->cancelled);
      },
      wrap_costs, [state = state_] { state->cancelled = true; });
}

Napi::Value ReproductionObject::remove(const Napi::CallbackInfo& info) {
  return promised<std::vector<double>>(
      info.Env(),
      [state = state_, players = integers(info, info[0])] {
        const std::lock_guard lock(state->busy);
        return state->reproduction->remove(players, state->cancelled);
      },
      wrap_costs, [state = state_] { state->cancelled = true; });
}

Napi::Value ReproductionObject::eliminate(const Napi::CallbackInfo& info) {
  return promised<Reproduction::Elimination>(
      info.Env(),
      [state = state_, count = int_argument(info, info[0])] {
        const std::lock_guard lock(state->busy);
        return state->reproduction->eliminate(count, state->cancelled);
      },
      wrap_elimination, [state = state_] { state->cancelled = true; });
}

void ReproductionObject::cancel(const Napi::CallbackInfo&) { state_->cancelled = true; }

}  // namespace secateur
