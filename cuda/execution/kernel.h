// What executes an instruction on a GPU. A kernel is built once, when a program loads, for fixed
// shapes; it validates what it is given then. Running only queues work on a stream.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "error.h"
#include "program/call.h"

namespace secateur::cuda {

// All pointers are to device memory; inputs[i] and outputs[i] follow the instruction's lists, nullptr
// where absent. Values of images point at the slice's first image, but for an input with fewer images
// than the entry (the prefix a gate repeats), which points at its own image 0.
struct Slice {
  cudaStream_t stream;
  int64_t first_image, images;
  std::span<void* const> inputs, outputs;  // reductions: outputs are nullptr; they write `partial`
  void* scratch;
  void* partial;
  // Where threads that meet bad data leave what they saw: the smallest report counts.
  unsigned long long* report;
};

// What the slices of a reduction left, in slice order.
struct Partials {
  cudaStream_t stream;
  int64_t slices;
  int64_t images;  // of the whole batch
  const std::byte* first;
  int64_t stride;                          // bytes between slices' partials
  std::span<void* const> inputs, outputs;  // values without images only
};

class Kernel {
 public:
  static constexpr int64_t kAlignment = 256;  // of scratch and partials

  virtual ~Kernel() = default;
  virtual int64_t scratch_bytes() const { return 0; }
  virtual int64_t partial_bytes() const { return 0; }  // of a whole slice
  virtual void run(const Slice& slice) const = 0;
  virtual void combine(const Partials&) const {}
  // Whether threads may report; refusal() then says what a report means.
  virtual bool reports() const { return false; }
  virtual Error refusal(unsigned long long) const { return {"addon-failed", ""}; }
};

using KernelPointer = std::unique_ptr<Kernel>;
constexpr unsigned long long kNoReport = ~0ull;

// A kernel without state of its own beyond what `run` has captured.
class SimpleKernel final : public Kernel {
 public:
  explicit SimpleKernel(std::function<void(const Slice&)> run) : run_(std::move(run)) {}
  void run(const Slice& slice) const override { run_(slice); }

 private:
  const std::function<void(const Slice&)> run_;
};

inline KernelPointer simple_kernel(std::function<void(const Slice&)> run) {
  return std::make_unique<SimpleKernel>(std::move(run));
}

}  // namespace secateur::cuda
