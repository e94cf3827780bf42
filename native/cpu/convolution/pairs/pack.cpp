#include "cpu/convolution/pairs/pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
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
    for (int64_t first = 0; first < form_.outputs(); first += kLanes) {
      const Panel panel{weights + first * step_, std::min(kLanes, form_.outputs() - first)};
      uint16_t* const to = values + first / kLanes * form_.panel();
      if (form_.product == Product::bf16) {
        std::fill_n(scales + first, kLanes, 1.0f);
        pack(panel, to, [](float weight, int64_t) { return to_bfloat16(weight).bits; });
        continue;
      }
      const std::array<float, kLanes> factors = factors_of(panel, scales + first);
      pack(panel, to, [&](float weight, int64_t lane) { return rounded(weight * factors[lane]); });
    }
  }

 private:
  // Up to kLanes outputs, which are packed side by side: what they read may share lines of the cache.
  struct Panel {
    const float* weights;
    int64_t outputs;
  };

  // The integer in the lower bits of a sum with 1.5 * 2^23.
  static uint16_t rounded(float value) {
    return static_cast<uint16_t>(std::bit_cast<uint32_t>(value + 12582912.0f));
  }

  // What each output's weights are multiplied by, and its scales.
  std::array<float, kLanes> factors_of(const Panel& panel, float* scales) const {
    constexpr uint32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;
    std::array<uint32_t, kLanes> largest{};
    for (const int64_t offset : offsets_) {
      for (int64_t lane = 0; lane < panel.outputs && offset >= 0; ++lane) {
        const auto bits = std::bit_cast<uint32_t>(panel.weights[lane * step_ + offset]);
        largest[lane] = std::max(largest[lane], bits & kMagnitude);
      }
    }
    std::array<float, kLanes> factors{};
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float most = std::bit_cast<float>(largest[lane]);
      // What is no number shows in everything that these weights make.
      scales[lane] = largest[lane] >= kInfinity ? std::numeric_limits<float>::quiet_NaN() : 0;
      if (largest[lane] >= kInfinity || most < kLeastScaled) continue;
      scales[lane] = most / float{kLargestWeight};
      factors[lane] = float{kLargestWeight} / most;
    }
    return factors;
  }

  template <class Value>
  void pack(const Panel& panel, uint16_t* to, const Value& value) const {
    for (size_t i = 0; i < offsets_.size(); i += 2, to += 2 * kLanes) {
      std::fill_n(to, 2 * kLanes, uint16_t{0});
      for (size_t half = 0; half < 2; ++half) {
        const int64_t offset = offsets_[i + half];
        for (int64_t lane = 0; lane < panel.outputs && offset >= 0; ++lane) {
          to[2 * lane + half] = value(panel.weights[lane * step_ + offset], lane);
        }
      }
    }
  }

  const Form form_;
  std::vector<int64_t> offsets_;  // into the weights of output 0
  int64_t step_;                  // between the weights of neighbouring outputs
};

}  // namespace

std::unique_ptr<Kernel> pack_kernel(Form form) { return std::make_unique<Pack>(std::move(form)); }

}  // namespace secateur::pairs
