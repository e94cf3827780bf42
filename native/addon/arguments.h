// Between JavaScript values and C++: arguments in, coded errors out.
#pragma once

#include <napi.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "error.h"

namespace secateur {

// What went wrong, detached from C++ exceptions so that it can cross threads.
struct Failure {
  std::string code;  // one of ErrorCode in src/errors.ts
  std::string sentence;

  Napi::Error in(Napi::Env env) const {
    Napi::Error error = Napi::Error::New(env, sentence);
    error.Set("code", Napi::String::New(env, code));
    return error;
  }
};

// The failure that the exception being handled stands for.
inline Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code, error.what()};
  } catch (const std::bad_alloc&) {
    return {"addon-failed", "The system has no more memory; use a smaller batch."};
  } catch (const std::exception& error) {
    return {"addon-failed", std::string("The native addon failed: ") + error.what() + "."};
  }
}

// Runs `body` and turns what native code throws into a JavaScript exception with a `code`.
template <class Body>
auto guarded(Napi::Env env, const Body& body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw current_failure().in(env);
  }
}

[[noreturn]] inline void refuse_argument(const Napi::CallbackInfo& info, const char* expected) {
  Napi::TypeError error =
      Napi::TypeError::New(info.Env(), std::string("Expected ") + expected + ".");
  error.Set("code", Napi::String::New(info.Env(), "program-invalid"));
  throw error;
}

// The bytes of a typed array; valid until JavaScript runs again.
inline std::span<const std::byte> bytes_argument(const Napi::CallbackInfo& info,
                                                 const Napi::Value& value) {
  if (!value.IsTypedArray()) refuse_argument(info, "a typed array");
  const auto array = value.As<Napi::TypedArray>();
  // Another thread may change a SharedArrayBuffer while it is copied, and Node-API gives no pointer.
  if (!array.Get("buffer").IsArrayBuffer()) refuse_argument(info, "memory that is not shared");
  const auto* const start = static_cast<const std::byte*>(array.ArrayBuffer().Data());
  return {start + array.ByteOffset(), array.ByteLength()};
}

// At most 2^53 either way; Node-API itself would truncate, wrap or clamp what it cannot hold.
inline int64_t integer_argument(const Napi::CallbackInfo& info, const Napi::Value& value) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0.5;
  constexpr double kMost = 9007199254740992;
  if (std::trunc(number) != number || std::abs(number) > kMost) {
    refuse_argument(info, "a whole number");
  }
  return static_cast<int64_t>(number);
}

inline int32_t int_argument(const Napi::CallbackInfo& info, const Napi::Value& value) {
  const int64_t number = integer_argument(info, value);
  if (number != static_cast<int32_t>(number)) refuse_argument(info, "a number of 32 bits");
  return static_cast<int32_t>(number);
}

inline std::vector<Napi::Value> list_argument(const Napi::CallbackInfo& info,
                                              const Napi::Value& value) {
  if (!value.IsArray()) refuse_argument(info, "an array");
  const auto array = value.As<Napi::Array>();
  auto items = guarded(info.Env(), [&] { return std::vector<Napi::Value>(array.Length()); });
  for (uint32_t i = 0; i < items.size(); ++i) items[i] = array.Get(i);
  return items;
}

}  // namespace secateur
