#include "emulator/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace secateur::emulator {

namespace {

constexpr size_t kZone = 1024;

bool poisoned(const std::byte* from, size_t bytes) {
  return std::all_of(from, from + bytes, [](std::byte each) { return each == std::byte{kPoison}; });
}

}  // namespace

GuardedMemory::GuardedMemory(size_t bytes) : bytes_(bytes) {
  const size_t all = (kZone + bytes + kZone + 255) / 256 * 256;
  void* const start = std::aligned_alloc(256, all);
  if (start == nullptr) throw std::bad_alloc();
  std::memset(start, kPoison, all);
  data_ = static_cast<std::byte*>(start) + kZone;
#if defined(__SANITIZE_ADDRESS__)
  ASAN_POISON_MEMORY_REGION(data_ - kZone, kZone);
  ASAN_POISON_MEMORY_REGION(data_ + bytes_, kZone);
#endif
}

GuardedMemory::~GuardedMemory() {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(data_ - kZone, kZone + bytes_ + kZone);
#endif
  std::free(data_ - kZone);
}

void GuardedMemory::poison() const { std::memset(data_, kPoison, bytes_); }

bool GuardedMemory::intact() const {
#if defined(__SANITIZE_ADDRESS__)
  return true;
#else
  return poisoned(data_ - kZone, kZone) && poisoned(data_ + bytes_, kZone);
#endif
}

}  // namespace secateur::emulator
