// The Node-API surface of the addon: nothing but argument conversion and exports.

#include <napi.h>

namespace {

Napi::Object defineExports(Napi::Env env, Napi::Object target) {
  target.Set("sourceHash", Napi::String::New(env, SECATEUR_SOURCE_HASH));
  return target;
}

}  // namespace

NODE_API_MODULE(secateur, defineExports)
