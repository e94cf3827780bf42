// oneDNN's convolution primitives for the shapes of operations.def, behind one interface for the
// library's versions 2 and 3.
#pragma once

#include <dnnl.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace secateur::onednn {

enum class Direction { forward, backward_data, backward_weights };

// CONVOLUTION of operations.def.
struct Shape {
  int64_t in_height, in_width, in_channels, out_height, out_width, out_channels;
  int64_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
  int64_t dilation_height, dilation_width, groups;

  static constexpr size_t kInts = 15;
  // nullopt where the numbers make no convolution that oneDNN can be asked for.
  static std::optional<Shape> parse(std::span<const int64_t> ints);

  int64_t in_elements() const { return in_height * in_width * in_channels; }
  int64_t out_elements() const { return out_height * out_width * out_channels; }
  bool depthwise() const { return groups > 1 && groups == in_channels && groups == out_channels; }
  int64_t weight_elements() const {
    return out_channels * (in_channels / groups) * kernel_height * kernel_width;
  }
};

struct Problem {
  Shape shape;
  Direction direction;
  int64_t images;
  dnnl::memory::data_type type{};    // of activations and, but for backward_weights, weights
  dnnl::memory::data_type result{};  // of y or dx
  bool bias = false, residual = false, relu = false;
  // The form of weights (or of dw); where absent, the one oneDNN likes best.
  std::optional<dnnl::memory::desc> weights = {};
};

// Plain [out, in / groups, height, width] f32: the master weights.
dnnl::memory::desc master_weights(const Shape& shape);

// A primitive and the memory it is given, callable from several threads at once.
class Primitive {
 public:
  struct Argument {
    int name;  // DNNL_ARG_*
    dnnl::memory::desc form;
  };

  // The last argument is the scratchpad.
  Primitive(dnnl::primitive primitive, std::vector<Argument> arguments);
  ~Primitive();

  // One address for each argument, in order. Throws Error("program-invalid") where oneDNN refuses,
  // naming the layer.
  void run(std::span<void* const> addresses, const std::string& layer) const;

  int64_t scratch_bytes() const {
    return static_cast<int64_t>(arguments_.back().form.get_size());
  }
  // The form of the weights (or of dw): the second argument.
  const dnnl::memory::desc& weights() const { return arguments_[1].form; }

 private:
  struct Call;  // memory objects of one call under way

  std::unique_ptr<Call> take() const;
  void give_back(std::unique_ptr<Call> call) const;

  dnnl::primitive primitive_;
  std::vector<Argument> arguments_;
  mutable std::array<std::atomic<Call*>, 8> idle_{};
};

// How oneDNN would serve a problem.
struct Form {
  dnnl::memory::desc weights;  // or dw
  bool amx;                    // by tiles
  bool bf16_dot;               // by AVX512_BF16's dot product
};

// nullopt where oneDNN has only its slow, general code.
std::optional<Form> convolution_form(const Problem& problem);

// Arguments in order: forward: x, weights, y, then bias where asked for;
// backward_data: dy, weights, dx; backward_weights: x, dw, dy, then db where `bias`.
// nullptr where convolution_form() has none.
std::unique_ptr<Primitive> convolution(const Problem& problem);

// From one form of weights to another; nullptr where oneDNN has none.
std::unique_ptr<Primitive> reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to);

}  // namespace secateur::onednn
