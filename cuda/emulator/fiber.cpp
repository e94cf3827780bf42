#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// Saves what the x86-64 calling convention lets a function keep, and swaps stacks.
extern "C" void secateur_switch_stacks(void** from, void* to);
asm(R"(
.text
.type secateur_switch_stacks, @function
secateur_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size secateur_switch_stacks, .-secateur_switch_stacks

.type secateur_first_step, @function
secateur_first_step:
  movq %r12, %rdi
  call *%r13
  ud2
.size secateur_first_step, .-secateur_first_step
)");
extern "C" void secateur_first_step();

namespace secateur::emulator {

namespace {

constexpr size_t kPage = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

void before_switch(void** shadow, const void* stack, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(shadow, stack, bytes);
#else
  static_cast<void>(shadow), static_cast<void>(stack), static_cast<void>(bytes);
#endif
}

void after_switch(void* shadow, const void** stack, size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(shadow, stack, bytes);
#else
  static_cast<void>(shadow), static_cast<void>(stack), static_cast<void>(bytes);
#endif
}

}  // namespace

Fiber::Fiber() {
  void* const memory = mmap(nullptr, kPage + kStackBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<std::byte*>(memory);
  mprotect(memory_, kPage, PROT_NONE);
  stack_ = memory_ + kPage;
}

Fiber::~Fiber() { munmap(memory_, kPage + kStackBytes); }

void Fiber::enter(Fiber* self) {
  after_switch(nullptr, &self->caller_stack_, &self->caller_bytes_);
  (*self->body_)();
  self->ended_ = true;
  before_switch(nullptr, self->caller_stack_, self->caller_bytes_);
  secateur_switch_stacks(&self->own_, self->caller_);
  std::abort();
}

void Fiber::start(const std::function<void()>& body) {
  body_ = &body;
  ended_ = false;
  // What secateur_switch_stacks pops: r15 r14 r13 r12 rbx rbp, then where it returns to, with the
  // stack aligned as at the start of a function.
  auto* const top = reinterpret_cast<uint64_t*>(stack_ + kStackBytes) - 9;
  top[2] = reinterpret_cast<uint64_t>(&Fiber::enter);
  top[3] = reinterpret_cast<uint64_t>(this);
  top[5] = 0;
  top[6] = reinterpret_cast<uint64_t>(&secateur_first_step);
  own_ = top;
  shadow_ = nullptr;
  resume();
}

void Fiber::resume() {
  void* shadow = nullptr;
  before_switch(&shadow, stack_, kStackBytes);
  secateur_switch_stacks(&caller_, own_);
  after_switch(shadow, nullptr, nullptr);
}

void Fiber::give_way() {
  before_switch(&shadow_, caller_stack_, caller_bytes_);
  secateur_switch_stacks(&own_, caller_);
  after_switch(shadow_, &caller_stack_, &caller_bytes_);
}

}  // namespace secateur::emulator
