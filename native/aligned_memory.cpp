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
// Since Linux 6.1, and not in older headers.
constexpr int kCollapse = 25;

std::byte* acquire(int64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  // From the heap, so that the sanitizer sees both ends.
  void* const data = std::aligned_alloc(64, static_cast<size_t>(aligned(bytes)));
  if (data != nullptr) std::memset(data, 0, static_cast<size_t>(bytes));
  return static_cast<std::byte*>(data);
#else
  void* const data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
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

void Memory::use_huge_pages() const {
#if !defined(__SANITIZE_ADDRESS__)
  if (bytes_ < kHugePage) return;
  // For pages not touched yet; then what was touched is moved, where the kernel can do that at once.
  madvise(data_, static_cast<size_t>(bytes_), MADV_HUGEPAGE);
  madvise(data_, static_cast<size_t>(bytes_), kCollapse);
#endif
}

void Memory::swap(Memory& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
}

int64_t machine_memory() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * int64_t{sysconf(_SC_PAGESIZE)};
}

}  // namespace secateur
