#include "cpu/convolution/pairs/pack.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace secateur::pairs {

namespace {

class Pack final : public Kernel {
 public:
  explicit Pack(Form form) : form_(std::move(form)), offsets_(form_.values.size()) {
    for (size_t i = 0; i < offsets_.size(); ++i) {
      offsets_[i] = form_.values[i] < 0 ? -1 : form_.index(0, form_.values[i]);
    }
    step_ = form_.index(1, 0) - form_.index(0, 0);
  }

  void run(const Slice& slice) const override {
    const float* const weights = static_cast<const float*>(slice.inputs[0]);
    std::byte* const packed = static_cast<std::byte*>(slice.outputs[0]);
    uint16_t* const values = reinterpret_cast<uint16_t*>(packed);
    float* const scales = reinterpret_cast<float*>(packed + form_.scales_offset());
    std::fill_n(values, form_.panels() * form_.panel(), uint16_t{0});
    std::fill_n(scales, form_.panels() * kLanes, 0.0f);
    for (int64_t output = 0; output < form_.outputs(); ++output) {
      uint16_t* const to =
          values + output / kLanes * form_.panel() + output % kLanes * 2;
      const float* const from = weights + output * step_;
      if (form_.product == Product::bf16) {
        pack(from, to, [](float weight) { return to_bfloat16(weight).bits; });
        continue;
      }
      const float most = largest(from);
      if (!std::isfinite(most)) {
        scales[output] = std::nanf("");  // shows in everything that they make
        continue;
      }
      if (most < kLeastScaled) continue;
      scales[output] = most / float{kLargestWeight};
      const float factor = float{kLargestWeight} / most;
      pack(from, to, [factor](float weight) {
        return static_cast<uint16_t>(static_cast<int32_t>(std::nearbyint(weight * factor)));
      });
    }
  }

 private:
  float largest(const float* from) const {
    float most = 0;
    for (const int64_t offset : offsets_) {
      if (offset < 0) continue;
      const float magnitude = std::fabs(from[offset]);
      if (!(magnitude <= most)) most = magnitude;  // keeps a NaN
      if (std::isnan(most)) break;
    }
    return most;
  }

  template <class Value>
  void pack(const float* from, uint16_t* to, const Value& value) const {
    for (size_t i = 0; i < offsets_.size(); i += 2, to += 2 * kLanes) {
      to[0] = value(from[offsets_[i]]);
      if (offsets_[i + 1] >= 0) to[1] = value(from[offsets_[i + 1]]);
    }
  }

  const Form form_;
  std::vector<int64_t> offsets_;  // into the weights of output 0
  int64_t step_;                  // between the weights of neighbouring outputs
};

}  // namespace

std::unique_ptr<Kernel> pack_kernel(Form form) { return std::make_unique<Pack>(std::move(form)); }

}  // namespace secateur::pairs
