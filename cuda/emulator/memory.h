// Memory with zones around it that nobody may touch.
#pragma once

#include <cstddef>

namespace secateur::emulator {

// A NaN in f32, f64 and bf16, and an index that is out of every range.
constexpr int kPoison = 0xff;

class GuardedMemory {
 public:
  // All of it holds NaNs. Throws std::bad_alloc.
  explicit GuardedMemory(size_t bytes);
  ~GuardedMemory();
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  void poison() const;
  // Whether the zones around it are as they were.
  bool intact() const;

 private:
  size_t bytes_;
  std::byte* data_;
};

}  // namespace secateur::emulator
