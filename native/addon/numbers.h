// Typed arrays of numbers as vectors, and back; both ways copy.
#pragma once

#include <napi.h>

#include <cstring>
#include <vector>

#include "addon/arguments.h"

namespace secateur {

// The bytes of a typed array of this type, which `expected` names; valid until JavaScript runs again.
inline std::span<const std::byte> bytes_argument(const Napi::CallbackInfo& info,
                                                 const Napi::Value& value,
                                                 napi_typedarray_type type, const char* expected) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    refuse_argument(info, expected);
  }
  return bytes_argument(info, value);
}

template <class T>
std::vector<T> copied(const Napi::CallbackInfo& info, std::span<const std::byte> bytes) {
  return guarded(info.Env(), [&] {
    std::vector<T> numbers(bytes.size() / sizeof(T));
    if (!numbers.empty()) std::memcpy(numbers.data(), bytes.data(), bytes.size());
    return numbers;
  });
}

inline std::vector<double> doubles_argument(const Napi::CallbackInfo& info,
                                            const Napi::Value& value) {
  return copied<double>(info, bytes_argument(info, value, napi_float64_array, "a Float64Array"));
}

inline std::vector<int32_t> ints_argument(const Napi::CallbackInfo& info,
                                          const Napi::Value& value) {
  return copied<int32_t>(info, bytes_argument(info, value, napi_int32_array, "an Int32Array"));
}

template <class T>
Napi::Value array_of(Napi::Env env, const std::vector<T>& from) {
  auto array = Napi::TypedArrayOf<T>::New(env, from.size());
  if (!from.empty()) std::memcpy(array.Data(), from.data(), from.size() * sizeof(T));
  return array;
}

}  // namespace secateur
