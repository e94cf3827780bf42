// How far a step's gradients are shortened (Pascanu, Mikolov & Bengio, "On the difficulty of training
// recurrent neural networks", arXiv 1211.5063).

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "cpu/kernels.h"

namespace secateur {

namespace {

// Sums side by side, so that additions need not wait for each other; their number is part of the result.
constexpr int64_t kSums = 8;

class SumSquares final : public Kernel {
 public:
  explicit SumSquares(int64_t count) : count_(count) {}

  void run(const Slice& slice) const override {
    const auto* const gradient = static_cast<const float*>(slice.inputs[0]);
    const auto* const squares = static_cast<const double*>(slice.inputs[1]);
    std::array<double, kSums> sums{};
    for (int64_t i = 0; i < count_; ++i) {
      const auto value = static_cast<double>(gradient[i]);
      sums[static_cast<size_t>(i % kSums)] += value * value;
    }
    *static_cast<double*>(slice.outputs[0]) =
        std::accumulate(sums.begin(), sums.end(), squares == nullptr ? 0.0 : *squares);
  }

 private:
  const int64_t count_;
};

class ClipScale final : public Kernel {
 public:
  explicit ClipScale(double norm) : norm_(norm) {}

  void run(const Slice& slice) const override {
    const double length = std::sqrt(*static_cast<const double*>(slice.inputs[0]));
    // Of a NaN, NaN: the loss of the next step shows it.
    const double scale = norm_ / (length + 1e-6);
    *static_cast<float*>(slice.outputs[0]) = scale > 1 ? 1.0F : static_cast<float>(scale);
  }

 private:
  const double norm_;
};

}  // namespace

KernelPointer sum_squares_kernel(const Call& call) {
  return std::make_unique<SumSquares>(call.input(0)->elements());
}

KernelPointer clip_scale_kernel(const Call& call) {
  return std::make_unique<ClipScale>(call.instruction.floats[0]);
}

}  // namespace secateur
