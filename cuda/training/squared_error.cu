// Squared error of an output against what is wanted of it. A warp for each image.

#include "device/block.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace squared_error {

struct Arguments {
  int64_t elements;
  float scale, gradient_scale;
  const float* output;
  const float* wanted;
  const float* previous;  // or nullptr
  float* loss;
  void* dx;  // or nullptr
};

template <class G>
__global__ void __launch_bounds__(kWarp) error_kernel(Arguments a) {
  const int64_t image = blockIdx.x, first = image * a.elements;
  const float factor = 2 * a.scale * a.gradient_scale;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < a.elements; i += kWarp) {
    const float difference = a.output[first + i] - a.wanted[first + i];
    sum += static_cast<double>(difference) * static_cast<double>(difference);
    if (a.dx != nullptr) static_cast<G*>(a.dx)[first + i] = stored<G>(factor * difference);
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) {
    const double before = a.previous == nullptr ? 0 : static_cast<double>(a.previous[image]);
    a.loss[image] = static_cast<float>(before + static_cast<double>(a.scale) * sum);
  }
}

class SquaredError final : public Kernel {
 public:
  SquaredError(const Arguments& arguments, bool gradient_bf16)
      : arguments_(arguments), gradient_bf16_(gradient_bf16) {}

  void run(const Slice& s) const override {
    Arguments a = arguments_;
    a.output = as<float>(s.inputs[0]);
    a.wanted = as<float>(s.inputs[1]);
    a.previous = as<float>(s.inputs[2]);
    a.loss = as<float>(s.outputs[0]);
    a.dx = s.outputs[1];
    with_number(gradient_bf16_, [&](auto number) {
      launch(s.stream, {{blocks_for(s.images, 1)}, {kWarp}}, error_kernel<decltype(number)>, a);
    });
  }

 private:
  const Arguments arguments_;
  const bool gradient_bf16_;
};

}  // namespace squared_error

KernelPointer squared_error_kernel(const Call& call) {
  squared_error::Arguments a{};
  a.elements = call.input(0)->elements();
  a.scale = call.real(0);
  a.gradient_scale = call.real(1);
  const Value* const gradient = call.output(1);
  return std::make_unique<squared_error::SquaredError>(
      a, gradient != nullptr && is_bf16(*gradient));
}

}  // namespace secateur::cuda
