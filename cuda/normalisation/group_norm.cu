// Normalisation of each image over groups of neighbouring channels and all pixels (Wu & He, arXiv
// 1803.08494), and its gradients.

#include "device/block.h"
#include "device/channel_sums.h"
#include "device/launch.h"
#include "device/number.h"
#include "kernels.h"

namespace secateur::cuda {

namespace group_norm {

struct Moments {
  double mean, inverse;

  template <class T>
  __device__ float standardised(const T* x, int64_t at) const {
    return static_cast<float>((static_cast<double>(to_float(x[at])) - mean) * inverse);
  }
};

// Where the groups of an image lie: [pixels, channels], `width` channels each.
struct Groups {
  int64_t pixels, channels, width;
  double epsilon;

  __host__ __device__ int64_t per_image() const { return channels / width; }
  __host__ __device__ int64_t cells() const { return pixels * width; }
  __device__ int64_t of(int64_t element) const {
    const int64_t image = element / (pixels * channels);
    return image * per_image() + element % channels / width;
  }
  // Element `cell` of a group.
  __device__ int64_t element(int64_t group, int64_t cell) const {
    const int64_t image = group / per_image(), first = group % per_image() * width;
    return (image * pixels + cell / width) * channels + first + cell % width;
  }
};

// A warp for each group of each image: [image, group] Moments.
template <class T>
__global__ void __launch_bounds__(kWarp) moments_kernel(const T* x, Moments* moments, Groups groups) {
  const auto group = static_cast<int64_t>(blockIdx.x);
  const auto lane = static_cast<int64_t>(threadIdx.x);
  const int64_t cells = groups.cells();
  double sum = 0, squares = 0;
  for (int64_t i = lane; i < cells; i += kWarp) {
    sum += static_cast<double>(to_float(x[groups.element(group, i)]));
  }
  const double mean = warp_sum(sum) / static_cast<double>(cells);
  for (int64_t i = lane; i < cells; i += kWarp) {
    const double distance = static_cast<double>(to_float(x[groups.element(group, i)])) - mean;
    squares = fma(distance, distance, squares);
  }
  const double variance = warp_sum(squares) / static_cast<double>(cells);
  if (lane == 0) moments[group] = {mean, 1 / sqrt(variance + groups.epsilon)};
}

// Means over a group of what pulls at xhat, and of that times xhat.
struct Pulls {
  double level, along;
};

template <class T>
__global__ void __launch_bounds__(kWarp)
    pulls_kernel(const T* dy, const T* x, const float* scale, const Moments* moments, Pulls* pulls,
                 Groups groups) {
  const auto group = static_cast<int64_t>(blockIdx.x);
  const int64_t cells = groups.cells();
  double level = 0, along = 0;
  for (auto i = static_cast<int64_t>(threadIdx.x); i < cells; i += kWarp) {
    const int64_t at = groups.element(group, i);
    const auto pull = static_cast<double>(to_float(dy[at]) * scale[at % groups.channels]);
    level += pull;
    along = fma(pull, static_cast<double>(moments[group].standardised(x, at)), along);
  }
  level = warp_sum(level) / static_cast<double>(cells);
  along = warp_sum(along) / static_cast<double>(cells);
  if (threadIdx.x == 0) pulls[group] = {level, along};
}

template <class T>
struct Forward {
  Groups groups;
  const T* x;
  const float *scale, *offset;
  const Moments* moments;
  T* y;

  __device__ void operator()(int64_t i) const {
    const int64_t c = i % groups.channels;
    y[i] = stored<T>(fmaf(moments[groups.of(i)].standardised(x, i), scale[c], offset[c]));
  }
};

template <class T>
struct Backward {
  Groups groups;
  const T *dy, *x;
  const float* scale;
  const Moments* moments;
  const Pulls* pulls;
  T* dx;

  __device__ void operator()(int64_t i) const {
    const int64_t group = groups.of(i);
    const float xhat = moments[group].standardised(x, i);
    const float pull = to_float(dy[i]) * scale[i % groups.channels];
    const auto level = static_cast<float>(pulls[group].level);
    const auto along = static_cast<float>(pulls[group].along);
    dx[i] = stored<T>(static_cast<float>(moments[group].inverse) * (pull - level - xhat * along));
  }
};

template <class T>
struct ParameterGradients {
  Groups groups;
  const T *dy, *x;
  const Moments* moments;

  __device__ void operator()(int64_t pixel, int64_t channel, double& dscale,
                             double& doffset) const {
    const int64_t at = pixel * groups.channels + channel;
    const auto gradient = static_cast<double>(to_float(dy[at]));
    dscale += gradient * static_cast<double>(moments[groups.of(at)].standardised(x, at));
    doffset += gradient;
  }
};

Groups groups_of(const Call& call) {
  const Extents extents = call.input_extents(0);
  return {extents.pixels(), extents.channels, extents.channels / call.integer(0),
          call.instruction.floats[0]};
}

// Queues what finds the moments of every group of a slice; they lie at the start of the scratch.
template <class T>
Moments* queue_moments(const Slice& s, const void* x, const Groups& groups) {
  auto* const moments = static_cast<Moments*>(s.scratch);
  launch(s.stream, {{blocks_for(s.images * groups.per_image(), 1)}, {kWarp}}, moments_kernel<T>,
         static_cast<const T*>(x), moments, groups);
  return moments;
}

class GroupNorm final : public Kernel {
 public:
  GroupNorm(const Call& call, bool backward)
      : groups_(groups_of(call)), slice_(call.entry.slice), backward_(backward),
        bf16_(is_bf16(*call.input(0))) {}

  int64_t scratch_bytes() const override {
    const size_t each = sizeof(Moments) + (backward_ ? sizeof(Pulls) : 0);
    return slice_ * groups_.per_image() * static_cast<int64_t>(each);
  }

  void run(const Slice& s) const override {
    with_number(bf16_, [&](auto number) {
      using T = decltype(number);
      if (backward_) {
        gradients<T>(s);
      } else {
        forward<T>(s);
      }
    });
  }

 private:
  int64_t elements(const Slice& s) const { return s.images * groups_.pixels * groups_.channels; }

  template <class T>
  void forward(const Slice& s) const {
    const Moments* const moments = queue_moments<T>(s, s.inputs[0], groups_);
    for_each(s.stream, elements(s),
             Forward<T>{groups_, as<T>(s.inputs[0]), as<float>(s.inputs[1]),
                        as<float>(s.inputs[2]), moments, as<T>(s.outputs[0])});
  }

  template <class T>
  void gradients(const Slice& s) const {
    const Moments* const moments = queue_moments<T>(s, s.inputs[1], groups_);
    const int64_t count = s.images * groups_.per_image();
    auto* const pulls =
        reinterpret_cast<Pulls*>(static_cast<Moments*>(s.scratch) + slice_ * groups_.per_image());
    launch(s.stream, {{blocks_for(count, 1)}, {kWarp}}, pulls_kernel<T>, as<T>(s.inputs[0]),
           as<T>(s.inputs[1]), as<float>(s.inputs[2]), moments, pulls, groups_);
    for_each(s.stream, elements(s),
             Backward<T>{groups_, as<T>(s.inputs[0]), as<T>(s.inputs[1]), as<float>(s.inputs[2]),
                         moments, pulls, as<T>(s.outputs[0])});
  }

  const Groups groups_;
  const int64_t slice_;
  const bool backward_, bf16_;
};

template <class T>
struct MakeGradients {
  Groups groups;

  ParameterGradients<T> operator()(const Slice& s) const {
    const Moments* const moments = queue_moments<T>(s, s.inputs[1], groups);
    return {groups, as<T>(s.inputs[0]), as<T>(s.inputs[1]), moments};
  }
};

}  // namespace group_norm

KernelPointer group_norm_kernel(const Call& call) {
  return std::make_unique<group_norm::GroupNorm>(call, false);
}
KernelPointer group_norm_backward_kernel(const Call& call) {
  return std::make_unique<group_norm::GroupNorm>(call, true);
}

KernelPointer group_norm_backward_parameters_kernel(const Call& call) {
  const group_norm::Groups groups = group_norm::groups_of(call);
  const int64_t slice = call.entry.slice;
  const int64_t scratch =
      slice * groups.per_image() * static_cast<int64_t>(sizeof(group_norm::Moments));
  return with_number(is_bf16(*call.input(0)), [&](auto number) {
    const group_norm::MakeGradients<decltype(number)> make{groups};
    return channel_sums(call.input_extents(0), slice, make, scratch);
  });
}

}  // namespace secateur::cuda
