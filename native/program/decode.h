// The serialised form of a program, as src/native/encode.ts writes it. Little-endian, unaligned:
//
//   "SCTPROG1"
//   i64 arena bytes, five of them in the order of Arena
//   u32 values        each: string name, u32 dtype, u32 arena, i64 images, i64 offset, u32 rank, i64 extents
//   u32 instructions  each: string operation, string layer, u32 + i32 inputs, u32 + i32 outputs,
//                           u32 + i64 ints, u32 + f64 floats
//   u32 entries       each: string name, u32 first, u32 count, i64 images, i64 slice
//
// A string is u32 bytes and that many bytes of UTF-8.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "program/program.h"

namespace secateur {

// Reads little-endian fields and refuses, with Error("program-invalid"), to read past the end or to
// believe a count that the remaining bytes cannot hold, so memory stays within the input's size.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, const char* what) : bytes_(bytes), what_(what) {}

  uint32_t u32() { return number<uint32_t>(); }
  int64_t i64() { return number<int64_t>(); }
  // A count of things that take at least `least` bytes each.
  uint32_t count(size_t least);
  std::string string();
  std::span<const std::byte> take(size_t length);
  bool done() const { return at_ == bytes_.size(); }
  size_t position() const { return at_; }

  template <class T>
  T number() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    const auto from = take(sizeof(T));
    __builtin_memcpy(&value, from.data(), sizeof(T));
    return value;
  }

  // Counted numbers of type Stored.
  template <class Stored, class T = Stored>
  std::vector<T> numbers() {
    std::vector<T> result(count(sizeof(Stored)));
    for (T& each : result) each = static_cast<T>(number<Stored>());
    return result;
  }

 private:
  std::span<const std::byte> bytes_;
  const char* what_;
  size_t at_ = 0;
};

// Throws Error("program-invalid") unless `bytes` is a well-formed program. What the fields mean is
// for verify() to judge.
Program decode(std::span<const std::byte> bytes);

}  // namespace secateur
