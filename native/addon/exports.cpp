// The Node-API surface of the addon: nothing but argument conversion and exports. src/native/addon.ts
// is its description on the other side.

#include <napi.h>

#include "addon/ancestry.h"
#include "addon/arguments.h"
#include "addon/background.h"
#include "addon/executor_choice.h"
#include "addon/linear_algebra.h"
#include "addon/reproduction_object.h"
#include "addon/session_object.h"
#include "cpu_features.h"
#include "product_rates.h"
#include "plugin/plugin.h"

namespace {

using secateur::guarded;
using secateur::integer_argument;

// (ints: number[], threads: number, engine: string, plugin?: string, device?: number): number
Napi::Value packed_bytes(const Napi::CallbackInfo& info) {
  std::vector<int64_t> ints;
  for (const Napi::Value& item : secateur::list_argument(info, info[0])) {
    ints.push_back(integer_argument(info, item));
  }
  const auto choice = secateur::executor_argument(info, 1);
  return guarded(info.Env(), [&]() -> Napi::Value {
    const int64_t bytes = choice.open()->packed_bytes(ints);
    return Napi::Number::New(info.Env(), static_cast<double>(bytes));
  });
}

// (path: string, device: number): string
Napi::Value describe_plugin(const Napi::CallbackInfo& info) {
  const std::string path = info[0].ToString();
  const int32_t device = secateur::int_argument(info, info[1]);
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::String::New(info.Env(), secateur::describe_plugin(path, device));
  });
}

// (): { avx2, avx512, avx512Bf16, avx512Vnni, bf16Dot, int16Dot, amxBf16 }
Napi::Value cpu_features(const Napi::CallbackInfo& info) {
  const secateur::CpuFeatures found =
      guarded(info.Env(), [] { return secateur::cpu_features(); });
  auto result = Napi::Object::New(info.Env());
  result.Set("avx2", found.avx2);
  result.Set("avx512", found.avx512);
  result.Set("avx512Bf16", found.avx512_bf16);
  result.Set("avx512Vnni", found.avx512_vnni);
  result.Set("bf16Dot", found.bf16_dot);
  result.Set("int16Dot", found.int16_dot);
  result.Set("amxBf16", found.amx_bf16);
  return result;
}

// (): { f32, bf16, int16 }
Napi::Value product_rates(const Napi::CallbackInfo& info) {
  const secateur::ProductRates& measured = secateur::product_rates();
  auto result = Napi::Object::New(info.Env());
  result.Set("f32", measured.f32);
  result.Set("bf16", measured.bf16);
  result.Set("int16", measured.int16);
  return result;
}

Napi::Object define_exports(Napi::Env env, Napi::Object target) {
  secateur::Background::install(env);
  target.Set("sourceHash", Napi::String::New(env, SECATEUR_SOURCE_HASH));
  target.Set("Session", secateur::SessionObject::define(env));
  target.Set("Reproduction", secateur::ReproductionObject::define(env));
  target.Set("packedBytes", Napi::Function::New<packed_bytes>(env, "packedBytes"));
  target.Set("describePlugin", Napi::Function::New<describe_plugin>(env, "describePlugin"));
  target.Set("cpuFeatures", Napi::Function::New<cpu_features>(env, "cpuFeatures"));
  target.Set("productRates", Napi::Function::New<product_rates>(env, "productRates"));
  target.Set("ancestry", Napi::Function::New<secateur::ancestry>(env, "ancestry"));
  target.Set("choleskySolve",
             Napi::Function::New<secateur::cholesky_solve_async>(env, "choleskySolve"));
  target.Set("ranks", Napi::Function::New<secateur::ranks>(env, "ranks"));
  return target;
}

}  // namespace

NODE_API_MODULE(secateur, define_exports)
