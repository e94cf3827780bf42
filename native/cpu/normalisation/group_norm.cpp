// Normalisation of each image over groups of neighbouring channels and all pixels (Wu & He, arXiv
// 1803.08494), and its gradients. A group a channel is instance norm.

#include <algorithm>
#include <cmath>

#include "cpu/kernels.h"
#include "cpu/pixels.h"

namespace secateur {

namespace {

// What the passes over an image share.
class Groups {
 public:
  explicit Groups(const Call& call, const Value& x, const Extents& extents)
      : pixels_(x, extents.channels), count_(extents.pixels()),
        width_(extents.channels / call.integer(0)), epsilon_(call.instruction.floats[0]) {}

  int64_t channels() const { return pixels_.channels(); }
  int64_t count() const { return count_; }
  const Pixels& pixels() const { return pixels_; }

  // Puts in the place of each channel's sum the mean over its group.
  void average(double* sums) const {
    const auto cells = static_cast<double>(width_ * count_);
    for (int64_t first = 0; first < channels(); first += width_) {
      double sum = 0;
      for (int64_t c = first; c < first + width_; ++c) sum += sums[c];
      std::fill_n(sums + first, width_, sum / cells);
    }
  }

  // Mean and inverse deviation of each channel's group in image `image`.
  void moments(const void* x, int64_t image, double* mean, double* inverse, float* room) const {
    std::fill_n(mean, channels(), 0.0);
    std::fill_n(inverse, channels(), 0.0);
    for (int64_t pixel = image * count_; pixel < (image + 1) * count_; ++pixel) {
      const float* const values = pixels_.read(x, pixel, room);
      for (int64_t c = 0; c < channels(); ++c) mean[c] += static_cast<double>(values[c]);
    }
    average(mean);
    for (int64_t pixel = image * count_; pixel < (image + 1) * count_; ++pixel) {
      const float* const values = pixels_.read(x, pixel, room);
      for (int64_t c = 0; c < channels(); ++c) {
        const double distance = static_cast<double>(values[c]) - mean[c];
        inverse[c] += distance * distance;
      }
    }
    average(inverse);
    for (int64_t c = 0; c < channels(); ++c) inverse[c] = 1 / std::sqrt(inverse[c] + epsilon_);
  }

 private:
  const Pixels pixels_;
  const int64_t count_, width_;
  const double epsilon_;
};

float standardised(float value, double mean, double inverse) {
  return static_cast<float>((static_cast<double>(value) - mean) * inverse);
}

// Rows of a number a channel: doubles, then floats.
struct Room {
  static constexpr int64_t kDoubles = 4, kFloats = 3;

  Room(void* scratch, int64_t channels)
      : mean(static_cast<double*>(scratch)), inverse(mean + channels), level(inverse + channels),
        along(level + channels), first(reinterpret_cast<float*>(along + channels)),
        second(first + channels), result(second + channels) {}

  static int64_t bytes(int64_t channels) {
    return channels * (kDoubles * static_cast<int64_t>(sizeof(double)) +
                       kFloats * static_cast<int64_t>(sizeof(float)));
  }

  double *mean, *inverse, *level, *along;
  float *first, *second, *result;
};

class GroupNorm final : public Kernel {
 public:
  explicit GroupNorm(const Call& call)
      : groups_(call, *call.input(0), call.input_extents(0)) {}

  int64_t scratch_bytes() const override { return Room::bytes(groups_.channels()); }

  void run(const Slice& slice) const override {
    const Room room(slice.scratch, groups_.channels());
    const auto* const scale = static_cast<const float*>(slice.inputs[1]);
    const auto* const offset = static_cast<const float*>(slice.inputs[2]);
    for (int64_t image = 0; image < slice.images; ++image) {
      groups_.moments(slice.inputs[0], image, room.mean, room.inverse, room.first);
      for (int64_t i = 0; i < groups_.count(); ++i) {
        const int64_t pixel = image * groups_.count() + i;
        const float* const x = groups_.pixels().read(slice.inputs[0], pixel, room.first);
        for (int64_t c = 0; c < groups_.channels(); ++c) {
          room.result[c] = standardised(x[c], room.mean[c], room.inverse[c]) * scale[c] + offset[c];
        }
        groups_.pixels().write(slice.outputs[0], pixel, room.result);
      }
    }
  }

 private:
  const Groups groups_;
};

class GroupNormBackward final : public Kernel {
 public:
  explicit GroupNormBackward(const Call& call)
      : groups_(call, *call.input(0), call.input_extents(0)) {}

  int64_t scratch_bytes() const override { return Room::bytes(groups_.channels()); }

  void run(const Slice& slice) const override {
    const Room room(slice.scratch, groups_.channels());
    for (int64_t image = 0; image < slice.images; ++image) {
      groups_.moments(slice.inputs[1], image, room.mean, room.inverse, room.second);
      means(slice, image, room);
      gradients(slice, image, room);
    }
  }

 private:
  // Means over each group of what pulls at xhat, and of that times xhat.
  void means(const Slice& slice, int64_t image, const Room& room) const {
    const auto* const scale = static_cast<const float*>(slice.inputs[2]);
    std::fill_n(room.level, 2 * groups_.channels(), 0.0);
    for (int64_t i = 0; i < groups_.count(); ++i) {
      const int64_t pixel = image * groups_.count() + i;
      const float* const dy = groups_.pixels().read(slice.inputs[0], pixel, room.first);
      const float* const x = groups_.pixels().read(slice.inputs[1], pixel, room.second);
      for (int64_t c = 0; c < groups_.channels(); ++c) {
        const auto pull = static_cast<double>(dy[c] * scale[c]);
        room.level[c] += pull;
        room.along[c] +=
            pull * static_cast<double>(standardised(x[c], room.mean[c], room.inverse[c]));
      }
    }
    groups_.average(room.level);
    groups_.average(room.along);
  }

  void gradients(const Slice& slice, int64_t image, const Room& room) const {
    const auto* const scale = static_cast<const float*>(slice.inputs[2]);
    for (int64_t i = 0; i < groups_.count(); ++i) {
      const int64_t pixel = image * groups_.count() + i;
      const float* const dy = groups_.pixels().read(slice.inputs[0], pixel, room.first);
      const float* const x = groups_.pixels().read(slice.inputs[1], pixel, room.second);
      for (int64_t c = 0; c < groups_.channels(); ++c) {
        const float xhat = standardised(x[c], room.mean[c], room.inverse[c]);
        room.result[c] = static_cast<float>(room.inverse[c]) *
                         (dy[c] * scale[c] - static_cast<float>(room.level[c]) -
                          xhat * static_cast<float>(room.along[c]));
      }
      groups_.pixels().write(slice.outputs[0], pixel, room.result);
    }
  }

  const Groups groups_;
};

class GroupNormParameters final : public Kernel {
 public:
  explicit GroupNormParameters(const Call& call)
      : groups_(call, *call.input(0), call.input_extents(0)) {}

  int64_t scratch_bytes() const override { return Room::bytes(groups_.channels()); }
  int64_t partial_bytes() const override {
    return 2 * groups_.channels() * static_cast<int64_t>(sizeof(double));
  }

  void run(const Slice& slice) const override {
    const int64_t channels = groups_.channels();
    const Room room(slice.scratch, channels);
    auto* const sums = static_cast<double*>(slice.partial);
    std::fill_n(sums, 2 * channels, 0.0);
    for (int64_t image = 0; image < slice.images; ++image) {
      groups_.moments(slice.inputs[1], image, room.mean, room.inverse, room.second);
      for (int64_t i = 0; i < groups_.count(); ++i) {
        const int64_t pixel = image * groups_.count() + i;
        const float* const dy = groups_.pixels().read(slice.inputs[0], pixel, room.first);
        const float* const x = groups_.pixels().read(slice.inputs[1], pixel, room.second);
        for (int64_t c = 0; c < channels; ++c) {
          const auto gradient = static_cast<double>(dy[c]);
          sums[c] +=
              gradient * static_cast<double>(standardised(x[c], room.mean[c], room.inverse[c]));
          sums[channels + c] += gradient;
        }
      }
    }
  }

  void combine(const Partials& partials) const override {
    const int64_t channels = groups_.channels();
    for (int64_t i = 0; i < 2 * channels; ++i) {
      double sum = 0;
      for (int64_t s = 0; s < partials.slices; ++s) sum += partials.of<double>(s)[i];
      static_cast<float*>(partials.outputs[i / channels])[i % channels] = static_cast<float>(sum);
    }
  }

 private:
  const Groups groups_;
};

}  // namespace

KernelPointer group_norm_kernel(const Call& call) { return std::make_unique<GroupNorm>(call); }
KernelPointer group_norm_backward_kernel(const Call& call) {
  return std::make_unique<GroupNormBackward>(call);
}
KernelPointer group_norm_backward_parameters_kernel(const Call& call) {
  return std::make_unique<GroupNormParameters>(call);
}

}  // namespace secateur
