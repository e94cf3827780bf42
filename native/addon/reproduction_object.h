// The JavaScript face of a Reproduction: its work runs in the background, one piece at a time.
#pragma once

#include <napi.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "linear_algebra/reproduction.h"

namespace secateur {

class ReproductionObject : public Napi::ObjectWrap<ReproductionObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // (consumers: { covariance: Float64Array, weights: Float64Array, owners: Int32Array }[],
  //  players: number, ridge: number); copies its arguments.
  explicit ReproductionObject(const Napi::CallbackInfo& info);
  ~ReproductionObject() override;

  // What outlives the object while work on it runs.
  struct State {
    std::unique_ptr<Reproduction> reproduction;
    std::mutex busy;
    std::atomic<bool> cancelled{false};
  };

 private:
  // (walks: Int32Array, depth: number, threads: number): Promise<Float64Array>
  Napi::Value walk(const Napi::CallbackInfo& info);
  // (players: Int32Array): Promise<Float64Array>
  Napi::Value remove(const Napi::CallbackInfo& info);
  // (count: number): Promise<{ players: Int32Array, costs: Float64Array }>
  Napi::Value eliminate(const Napi::CallbackInfo& info);
  // (consumer: number): Promise<Float64Array>
  Napi::Value weights(const Napi::CallbackInfo& info);
  // Makes everything that runs or is still asked for reject with "cancelled".
  void cancel(const Napi::CallbackInfo& info);

  napi_env env_;
  std::shared_ptr<State> state_;
  int64_t bytes_ = 0;  // that the garbage collector was told of
};

}  // namespace secateur
