#include "aligned_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "error.h"

namespace secateur {

namespace {

constexpr int64_t kHugePage = 2 << 20;

std::byte* acquire(int64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  // From the heap, so that the sanitizer sees both ends.
  void* const data = std::aligned_alloc(64, static_cast<size_t>(aligned(bytes)));
  if (data != nullptr) std::memset(data, 0, static_cast<size_t>(bytes));
  return static_cast<std::byte*>(data);
#else
  void* const data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  // Fewer translation misses; a refusal costs speed only.
  if (bytes >= kHugePage) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
#endif
}

void release(std::byte* data, int64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  static_cast<void>(bytes);
  std::free(data);
#else
  munmap(data, static_cast<size_t>(bytes));
#endif
}

}  // namespace

Memory::Memory(int64_t bytes, const std::string& what) : bytes_(bytes) {
  if (bytes == 0) return;
  data_ = acquire(bytes);
  if (data_ == nullptr) {
    throw Error("addon-failed", "Expected " + std::to_string(bytes) + " bytes of memory for the " +
                                    what + ", but the system has no more; use a smaller batch.");
  }
}

Memory::~Memory() {
  if (data_ != nullptr) release(data_, bytes_);
}

void Memory::swap(Memory& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
}

int64_t machine_memory() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * int64_t{sysconf(_SC_PAGESIZE)};
}

}  // namespace secateur
