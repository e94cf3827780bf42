// Stacks that give way to one another.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace secateur::emulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs the body from its start, or from where it gave way, until it gives way or ends.
  void start(const std::function<void()>& body);
  void resume();
  bool ended() const { return ended_; }

  // Of the running body: back to whoever resumed it.
  void give_way();

 private:
  static void enter(Fiber* self);

  std::byte* memory_;
  std::byte* stack_;  // above a page that may not be touched
  void* own_ = nullptr;     // stack pointers while they rest
  void* caller_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  bool ended_ = true;
  // What AddressSanitizer wants to know of a switch.
  void* shadow_ = nullptr;
  const void* caller_stack_ = nullptr;
  size_t caller_bytes_ = 0;
};

}  // namespace secateur::emulator
