#include "addon/reproduction_object.h"

#include <utility>

#include "addon/arguments.h"
#include "addon/background.h"
#include "addon/numbers.h"

namespace secateur {

namespace {

Consumer consumer_of(const Napi::CallbackInfo& info, const Napi::Value& value) {
  if (!value.IsObject()) refuse_argument(info, "consumers");
  const auto object = value.As<Napi::Object>();
  Consumer consumer{.covariance = doubles_argument(info, object.Get("covariance")),
                    .weights = doubles_argument(info, object.Get("weights")),
                    .owners = ints_argument(info, object.Get("owners"))};
  consumer.unknowns = static_cast<int64_t>(consumer.owners.size());
  if (consumer.unknowns > 0) {
    consumer.outputs = static_cast<int64_t>(consumer.weights.size()) / consumer.unknowns;
  }
  return consumer;
}

Napi::Value wrap_elimination(Napi::Env env, const Reproduction::Elimination& result) {
  auto object = Napi::Object::New(env);
  object.Set("players", array_of(env, result.players));
  object.Set("costs", array_of(env, result.costs));
  return object;
}

}  // namespace

Napi::Function ReproductionObject::define(Napi::Env env) {
  return DefineClass(env, "Reproduction",
                     {InstanceMethod<&ReproductionObject::walk>("walk"),
                      InstanceMethod<&ReproductionObject::remove>("remove"),
                      InstanceMethod<&ReproductionObject::eliminate>("eliminate"),
                      InstanceMethod<&ReproductionObject::weights>("weights"),
                      InstanceMethod<&ReproductionObject::cancel>("cancel")});
}

ReproductionObject::ReproductionObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ReproductionObject>(info), env_(info.Env()),
      state_(std::make_shared<State>()) {
  std::vector<Consumer> consumers;
  for (const Napi::Value& item : list_argument(info, info[0])) {
    consumers.push_back(consumer_of(info, item));
  }
  const int32_t players = int_argument(info, info[1]);
  const double ridge = info[2].IsNumber() ? info[2].As<Napi::Number>().DoubleValue() : -1;
  guarded(info.Env(), [&] {
    state_->reproduction = std::make_unique<Reproduction>(std::move(consumers), players, ridge);
  });
  bytes_ = state_->reproduction->bytes();
  Napi::MemoryManagement::AdjustExternalMemory(env_, bytes_);
}

ReproductionObject::~ReproductionObject() {
  Napi::MemoryManagement::AdjustExternalMemory(env_, -bytes_);
}

Napi::Value ReproductionObject::walk(const Napi::CallbackInfo& info) {
  auto walks = ints_argument(info, info[0]);
  const int32_t depth = int_argument(info, info[1]), threads = int_argument(info, info[2]);
  return promised<std::vector<double>>(
      info.Env(),
      [state = state_, walks = std::move(walks), depth, threads] {
        const std::lock_guard lock(state->busy);
        return state->reproduction->walk(walks, depth, threads, state->cancelled);
      },
      array_of<double>, [state = state_] { state->cancelled = true; });
}

Napi::Value ReproductionObject::remove(const Napi::CallbackInfo& info) {
  return promised<std::vector<double>>(
      info.Env(),
      [state = state_, players = ints_argument(info, info[0])] {
        const std::lock_guard lock(state->busy);
        return state->reproduction->remove(players, state->cancelled);
      },
      array_of<double>, [state = state_] { state->cancelled = true; });
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

Napi::Value ReproductionObject::weights(const Napi::CallbackInfo& info) {
  return promised<std::vector<double>>(
      info.Env(),
      [state = state_, consumer = int_argument(info, info[0])] {
        const std::lock_guard lock(state->busy);
        return state->reproduction->weights(consumer, state->cancelled);
      },
      array_of<double>, [state = state_] { state->cancelled = true; });
}

void ReproductionObject::cancel(const Napi::CallbackInfo&) { state_->cancelled = true; }

}  // namespace secateur
