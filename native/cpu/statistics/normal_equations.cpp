// The normal equations of least squares: per group, sums of patch patch^T and patch target^T over
// all output cells, in f64. Per block of cells, patches and targets are laid out as the rows of one
// matrix, and the upper triangle of its products is accumulated in register tiles.

#include <algorithm>
#include <cstring>

#include "cpu/convolution/shape.h"
#include "cpu/kernels.h"
#include "cpu/simd/vector_kernels.h"

namespace secateur {

namespace {

// A block's rows should stay in the second-level cache.
constexpr int64_t kBlockBytes = 512 << 10;
constexpr int64_t kBandRows = 48;

class NormalEquations final : public Kernel {
 public:
  NormalEquations(const ConvolutionShape& shape, bool x_bf16, bool target_bf16, bool accumulate)
      : vectors_(vector_kernels()), shape_(shape), x_bf16_(x_bf16), target_bf16_(target_bf16),
        accumulate_(accumulate), lanes_(vectors_.lanes / 2),
        unknowns_(shape.group_in() * shape.taps() + 1), outputs_(shape.group_out()),
        width_((unknowns_ + outputs_ + lanes_ - 1) / lanes_ * lanes_),
        block_(std::clamp<int64_t>(kBlockBytes / (width_ * 8), 16, 256)) {}

  int64_t scratch_bytes() const override { return block_ * width_ * 8; }
  int64_t partial_bytes() const override { return shape_.groups * unknowns_ * width_ * 8; }

  void run(const Slice& slice) const override {
    std::memset(slice.partial, 0, static_cast<size_t>(partial_bytes()));
    double* const rows = static_cast<double*>(slice.scratch);
    std::fill_n(rows, block_ * width_, 0.0);
    const int64_t cells = slice.images * shape_.out_height * shape_.out_width;
    for (int64_t group = 0; group < shape_.groups; ++group) {
      double* const sums = static_cast<double*>(slice.partial) + group * unknowns_ * width_;
      for (int64_t first = 0; first < cells; first += block_) {
        const int64_t count = std::min(block_, cells - first);
        for (int64_t i = 0; i < count; ++i) fill_row(slice, group, first + i, rows + i * width_);
        add_products(rows, count, sums);
      }
    }
  }

  void combine(const Partials& partials) const override {
    auto* const gram = static_cast<double*>(partials.outputs[0]);
    auto* const cross = static_cast<double*>(partials.outputs[1]);
    if (!accumulate_) {
      std::fill_n(gram, shape_.groups * unknowns_ * unknowns_, 0.0);
      std::fill_n(cross, shape_.groups * unknowns_ * outputs_, 0.0);
    }
    std::vector<double> sums(static_cast<size_t>(width_));
    for (int64_t group = 0; group < shape_.groups; ++group) {
      double* const square = gram + group * unknowns_ * unknowns_;
      for (int64_t i = 0; i < unknowns_; ++i) {
        add_slices(partials, (group * unknowns_ + i) * width_, sums);
        square[i * unknowns_ + i] += sums[i];
        for (int64_t j = i + 1; j < unknowns_; ++j) {
          square[i * unknowns_ + j] += sums[j];
          square[j * unknowns_ + i] += sums[j];
        }
        for (int64_t j = 0; j < outputs_; ++j) {
          cross[(group * unknowns_ + i) * outputs_ + j] += sums[unknowns_ + j];
        }
      }
    }
  }

 private:
  // sums = one row of all slices' partials together.
  void add_slices(const Partials& partials, int64_t first, std::vector<double>& sums) const {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t s = 0; s < partials.slices; ++s) {
      const double* const from = partials.of<double>(s) + first;
      for (int64_t j = 0; j < width_; ++j) sums[j] += from[j];
    }
  }

  static double at(const void* base, bool bf16, int64_t index) {
    return static_cast<double>(bf16 ? to_float(static_cast<const bfloat16*>(base)[index])
                                    : static_cast<const float*>(base)[index]);
  }

  // Patch in the order of the weights ([input][tap]), then 1, then the targets.
  void fill_row(const Slice& slice, int64_t group, int64_t cell, double* row) const {
    const int64_t pixels = shape_.out_height * shape_.out_width;
    const int64_t image = cell / pixels, i = cell % pixels / shape_.out_width,
                  j = cell % shape_.out_width;
    const int64_t taps = shape_.taps(), inputs = shape_.group_in();
    for (int64_t tap = 0; tap < taps; ++tap) {
      const int64_t y = i * shape_.stride_height - shape_.pad_top +
                        tap / shape_.kernel_width * shape_.dilation_height;
      const int64_t x = j * shape_.stride_width - shape_.pad_left +
                        tap % shape_.kernel_width * shape_.dilation_width;
      const bool inside = y >= 0 && y < shape_.in_height && x >= 0 && x < shape_.in_width;
      const int64_t pixel = (image * shape_.in_height + y) * shape_.in_width + x;
      const int64_t from = pixel * shape_.in_channels + group * inputs;
      for (int64_t c = 0; c < inputs; ++c) {
        row[c * taps + tap] = inside ? at(slice.inputs[0], x_bf16_, from + c) : 0.0;
      }
    }
    row[unknowns_ - 1] = 1;
    const int64_t from = cell * shape_.out_channels + group * outputs_;
    for (int64_t o = 0; o < outputs_; ++o) {
      row[unknowns_ + o] = at(slice.inputs[1], target_bf16_, from + o);
    }
  }

  // sums[i][j] += sum over rows of row[i] * row[j], for j at or right of i's band.
  void add_products(const double* rows, int64_t count, double* sums) const {
    for (int64_t i = 0; i < unknowns_; i += kBandRows) {
      const int64_t first = i / lanes_ * lanes_;
      vectors_.accumulate_f64({.a = rows + i,
                               .a_image_step = 0,
                               .a_row_step = 0,
                               .a_column_step = width_,
                               .b = rows + first,
                               .b_image_step = 0,
                               .b_row_step = 0,
                               .b_column_step = width_,
                               .images = 1,
                               .rows = 1,
                               .columns = count,
                               .m = std::min(kBandRows, unknowns_ - i),
                               .n = width_ - first,
                               .sums = sums + i * width_ + first,
                               .sums_step = width_});
    }
  }

  const VectorKernels& vectors_;
  const ConvolutionShape shape_;
  const bool x_bf16_, target_bf16_, accumulate_;
  const int64_t lanes_, unknowns_, outputs_;
  const int64_t width_, block_;  // of a row, in whole vectors; rows in a block
};

}  // namespace

KernelPointer normal_equations_kernel(const Call& call) {
  const auto shape = ConvolutionShape::parse(call.instruction.ints);
  return std::make_unique<NormalEquations>(shape, is_bf16(*call.input(0)), is_bf16(*call.input(1)),
                                           call.integer(ConvolutionShape::kInts) == 1);
}

}  // namespace secateur
