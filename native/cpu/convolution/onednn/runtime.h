// oneDNN as a library of single-threaded kernels: our threads call it, and it starts none.
#pragma once

#include <dnnl.hpp>

#include <cstdint>

namespace secateur::onednn {

// False when oneDNN cannot be held to one thread or to the allowed instruction set.
bool available();

// The CPU engine. Asked for only after available() was true.
const dnnl::engine& engine();

// While it lives, what oneDNN decides on this thread it decides for one thread: primitives fix
// their threads when they are built.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

// From here on, primitives on this thread run on this thread alone.
void stay_on_this_thread();

}  // namespace secateur::onednn
