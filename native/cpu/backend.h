// What a backend is: it turns instructions into kernels. A kernel is built once, when a program
// loads, for fixed shapes; it validates what it is given then, and may not fail when it runs
// except by throwing secateur::Error.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "program/call.h"

namespace secateur {

// Where one run of a kernel finds its arguments: inputs[i] and outputs[i] follow the instruction's
// lists, nullptr where absent. Values that belong to images point at the slice's first image,
// whether they live in the activations, feeds or slice arena - with one exception: an input with
// fewer images than the entry (the prefix a gate repeats) points at its own image 0.
struct Slice {
  int64_t index;        // which slice of the batch
  int64_t first_image;  // of the batch
  int64_t images;       // in this slice; the last may have fewer
  std::span<void* const> inputs;
  std::span<void* const> outputs;  // reductions: nullptr; they write `partial`
  void* scratch;                   // scratch_bytes(), 64-byte aligned, this thread's alone
  void* partial;                   // partial_bytes() of this slice, reductions only
  // Which share of the slice's work to do: all of it, or one of Kernel::parts().
  int64_t part = 0, parts = 1;
};

// Adds up what the slices of a reduction left, in slice order.
struct Partials {
  int64_t slices;
  int64_t images;  // of the whole batch
  const std::byte* first;
  int64_t stride;  // bytes between slices' partials
  std::span<void* const> inputs;   // values without images only; image values are nullptr
  std::span<void* const> outputs;

  template <class T>
  const T* of(int64_t slice) const {
    return reinterpret_cast<const T*>(first + slice * stride);
  }
};

class Kernel {
 public:
  static constexpr int64_t kAlignment = 64;  // of scratch and partials

  virtual ~Kernel() = default;
  virtual int64_t scratch_bytes() const { return 0; }
  virtual int64_t partial_bytes() const { return 0; }
  // Into how many shares threads may divide a slice's work, where there are fewer slices than
  // threads. Of image operations only; results must not depend on it.
  virtual int64_t parts() const { return 1; }
  // image and reduction: once a slice or once for each part, on any thread, several at a time;
  // whole: once.
  virtual void run(const Slice& slice) const = 0;
  // reduction: once, after all slices.
  virtual void combine(const Partials&) const {}
};

// Which convolution kernels to use; `automatic` takes the fastest that supports the shape.
enum class Engine { automatic, portable, onednn };

class Backend {
 public:
  virtual ~Backend() = default;
  // For a call that passed check_shapes(). Throws Error("program-invalid") where its kernel has further
  // limits.
  virtual std::unique_ptr<Kernel> kernel(const Call&) const = 0;
  // Bytes of the output of a pack_convolution with these ints.
  virtual int64_t packed_bytes(std::span<const int64_t> ints) const = 0;
};

std::unique_ptr<Backend> make_cpu_backend(Engine engine);

}  // namespace secateur
