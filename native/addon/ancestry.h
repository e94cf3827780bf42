// Who started this process.
#pragma once

#include <napi.h>

namespace secateur {

// (): number[]: the ids of the parent process and of its parent, as they are now; 0 where there is
// none or it cannot be told. JavaScript under Deno may not read /proc.
Napi::Value ancestry(const Napi::CallbackInfo& info);

}  // namespace secateur
