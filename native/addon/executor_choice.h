// Which executor JavaScript asks for.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>

#include "addon/arguments.h"
#include "cpu/executor.h"
#include "plugin/plugin.h"
#include "session/executor.h"

namespace secateur {

struct ExecutorChoice {
  int32_t threads;
  Engine engine;
  std::string plugin;  // empty: the CPU
  int32_t device;

  std::unique_ptr<Executor> open() const {
    if (plugin.empty()) return make_cpu_executor(threads, engine);
    return open_plugin(plugin, device);
  }
};

inline Engine engine_argument(const Napi::CallbackInfo& info, const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "automatic") return Engine::automatic;
  if (name == "portable") return Engine::portable;
  if (name == "onednn") return Engine::onednn;
  refuse_argument(info, "an engine: automatic, portable or onednn");
}

// From argument `first` on: threads, engine and, for another executor than the CPU, the path of a
// plugin and the number of its device.
inline ExecutorChoice executor_argument(const Napi::CallbackInfo& info, size_t first) {
  const auto threads = int_argument(info, info[first]);
  const auto engine = engine_argument(info, info[first + 1]);
  if (info[first + 2].IsUndefined()) return {threads, engine, "", 0};
  if (!info[first + 2].IsString()) refuse_argument(info, "the path of a plugin");
  return {threads, engine, info[first + 2].As<Napi::String>(),
          int_argument(info, info[first + 3])};
}

}  // namespace secateur
