// Memory that programs run in: zeroed, 64-byte aligned, never moved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace secateur {

class Memory {
 public:
  Memory() = default;
  // Pages arrive zeroed when first touched. Throws Error("addon-failed") when the system refuses;
  // `what` names the use.
  Memory(int64_t bytes, const std::string& what);
  ~Memory();
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

  // Asks for huge pages, which mean fewer translation misses: measured 2% of a training step. For
  // what is used for long only, since getting them takes time: up to 6 ms for each 2 MiB where a
  // virtual machine's host has to find the memory first. A refusal costs speed only.
  void use_huge_pages() const;

 private:
  void swap(Memory& other) noexcept;

  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

// `bytes` rounded up to a multiple of 64, so that what follows is aligned.
constexpr int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Physical memory of this machine in bytes.
int64_t machine_memory();

}  // namespace secateur
