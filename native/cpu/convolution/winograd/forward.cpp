#include "cpu/convolution/winograd/forward.h"

#include <algorithm>
#include <array>
#include <optional>

#include "cpu/convolution/packed.h"
#include "cpu/convolution/winograd/gradient.h"
#include "cpu/convolution/winograd/shape.h"
#include "cpu/parts.h"
#include "cpu_features.h"
#include "error.h"
#include "program/precision.h"

namespace secateur {

namespace winograd {

namespace {

constexpr size_t kInts = ConvolutionShape::kInts;

// Enough tiles in a block for weights to be read seldom, few enough for them to stay in the
// second-level cache.
constexpr int64_t kBlockBytes = 288 << 10;

class Convolution final : public Kernel {
 public:
  Convolution(const Tiling& tiling, bool source_bf16, bool result_bf16,
              bool residual_bf16, bool relu)
      : tiling_(tiling),
        source_{tiling.block_tiles(kBlockBytes), tiling.source_channels},
        result_{tiling.block_tiles(kBlockBytes), tiling.result_channels},
        source_bf16_(source_bf16),
        result_bf16_(result_bf16),
        residual_bf16_(residual_bf16),
        relu_(relu),
        transform_output_(cpu_features().avx512_bf16
                              ? output_transform_avx512_bf16(result_bf16, residual_bf16)
                              : output_transform_avx512(result_bf16, residual_bf16)) {}

  int64_t scratch_bytes() const override {
    return 4 * (source_.floats() + result_.floats() + padded_channels(tiling_.result_channels));
  }

  int64_t parts() const override {
    const int64_t products = kElements * tiling_.tiles() * tiling_.source_channels *
                             tiling_.result_channels;
    return parts_for(tiling_.tile_rows(), products);
  }

  void run(const Slice& slice) const override {
    float* const scratch = static_cast<float*>(slice.scratch);
    const Tiles sources = source_.at(scratch), results = result_.at(scratch + source_.floats());
    const float* const bias = padded_bias(slice, scratch + source_.floats() + result_.floats());
    const Range rows = part_of(tiling_.tile_rows(), 1, slice);
    const int64_t total = slice.images * rows.count() * tiling_.tile_columns();
    TileWalk read(tiling_, rows), written(tiling_, rows);
    for (int64_t done = 0; done < total; done += source_.tiles) {
      const int64_t count = std::min(total - done, source_.tiles);
      for (int64_t i = 0; i < count; ++i, read.next()) {
        transform_input(sources.at(0, i), source_image(slice, read.image()),
                        read.row() - tiling_.top, read.column() - tiling_.left);
      }
      multiply(results, sources, argument<const float>(slice, 1), bias,
               {count, tiling_.source_channels, tiling_.result_channels});
      for (int64_t i = 0; i < count; ++i, written.next()) {
        write_outputs(slice, written, results.at(0, i));
      }
    }
  }

 private:
  template <class T>
  static T* argument(const Slice& slice, size_t input) {
    return slice.inputs.size() > input ? static_cast<T*>(slice.inputs[input]) : nullptr;
  }

  const float* padded_bias(const Slice& slice, float* padded) const {
    const float* const given = argument<const float>(slice, 2);
    if (given == nullptr) return nullptr;
    std::fill_n(padded, padded_channels(tiling_.result_channels), 0.0f);
    std::copy_n(given, tiling_.result_channels, padded);
    return padded;
  }

  Image source_image(const Slice& slice, int64_t image) const {
    return {element_at(slice.inputs[0], source_bf16_, image * tiling_.source_elements()),
            source_bf16_, tiling_.source_height, tiling_.source_width, tiling_.source_channels};
  }

  Image result_image(void* values, bool bf16, int64_t image) const {
    return {element_at(values, bf16, image * tiling_.result_elements()), bf16,
            tiling_.result_height, tiling_.result_width, tiling_.result_channels};
  }

  void write_outputs(const Slice& slice, const TileWalk& at, const Tiles& tile) const {
    void* const residual = argument<void>(slice, 3);
    const Image added = result_image(residual, residual_bf16_, at.image());
    transform_output_(result_image(slice.outputs[0], result_bf16_, at.image()), at.row(),
                      at.column(), tile, {residual == nullptr ? nullptr : &added, relu_});
  }

  const Tiling tiling_;
  const TileRoom source_, result_;
  const bool source_bf16_, result_bf16_, residual_bf16_, relu_;
  OutputTransform* const transform_output_;
};

// Weights in the transformed domain, as multiply reads them.
class Pack final : public Kernel {
 public:
  Pack(const Tiling& tiling, bool backward, bool bf16)
      : sources_(tiling.source_channels), results_(tiling.result_channels),
        backward_(backward), bf16_(bf16) {}

  void run(const Slice& slice) const override {
    const float* const weights = static_cast<const float*>(slice.inputs[0]);
    float* const elements = static_cast<float*>(slice.outputs[0]);
    const int64_t row = padded_channels(results_);
    std::array<float, 9 * 16> filters{};
    for (int64_t first = 0; first < results_; first += 16) {
      const int64_t lanes = std::min<int64_t>(16, results_ - first);
      filters.fill(0.0f);
      for (int64_t source = 0; source < sources_; ++source) {
        for (int64_t lane = 0; lane < lanes; ++lane) {
          const float* const filter = weights + 9 * index(source, first + lane);
          for (int64_t tap = 0; tap < 9; ++tap) {
            filters[tap * 16 + lane] = filter[backward_ ? 8 - tap : tap];
          }
        }
        transform_weights(elements + first * sources_ + source * 16, sources_ * row,
                          filters.data(), bf16_);
      }
    }
  }

 private:
  // Of a filter in [out, in].
  int64_t index(int64_t source, int64_t result) const {
    return backward_ ? source * results_ + result : result * sources_ + source;
  }

  const int64_t sources_, results_;
  const bool backward_, bf16_;
};

// What a pack_convolution asks for; nullopt where this method does not serve it.
std::optional<Tiling> packed(std::span<const int64_t> ints) {
  if (!is_served(parse_precision(ints[kInts + 1]))) return std::nullopt;
  return Tiling::of(ConvolutionShape::parse(ints), ints[kInts] == 1);
}

int64_t packed_floats(const Tiling& c) {
  return kElements * c.source_channels * padded_channels(c.result_channels);
}

bool is_bf16(const Value* value) { return value != nullptr && value->dtype == DType::bf16; }

std::unique_ptr<Kernel> pack(const Call& call) {
  const auto tiling = packed(call.instruction.ints);
  if (!tiling) return nullptr;
  call.require_output(0, {packed_floats(*tiling) * 4});
  const bool bf16 = parse_precision(call.integer(kInts + 1)) == Precision::bf16;
  return std::make_unique<Pack>(*tiling, call.integer(kInts) == 1, bf16);
}

std::unique_ptr<Kernel> convolution(const Call& call, bool backward) {
  const Instruction* const pack = packed_by(call);
  if (pack == nullptr) return nullptr;
  const auto tiling = packed(pack->ints);
  if (!tiling) return nullptr;
  const auto& ints = call.instruction.ints;
  if (!std::equal(ints.begin(), ints.begin() + kInts, pack->ints.begin()) ||
      (pack->ints[kInts] == 1) != backward) {
    call.refuse("expected weights packed for the same shape and direction.");
  }
  call.require_input(1, {packed_floats(*tiling) * 4});
  return std::make_unique<Convolution>(*tiling, is_bf16(call.input(0)),
                                       is_bf16(call.output(0)),
                                       !backward && is_bf16(call.input(3)),
                                       !backward && call.integer(kInts) != 0);
}

}  // namespace

}  // namespace winograd

std::unique_ptr<Kernel> winograd_kernel(const Call& call) {
  switch (call.instruction.op) {
    case Op::pack_convolution:
      return winograd::pack(call);
    case Op::convolution:
      return winograd::convolution(call, false);
    case Op::convolution_backward_data:
      return winograd::convolution(call, true);
    case Op::convolution_backward_weights:
      return winograd::weights_gradient(call);
    default:
      return nullptr;
  }
}

int64_t winograd_packed_bytes(std::span<const int64_t> ints) {
  const auto tiling = winograd::packed(ints);
  return tiling ? winograd::packed_floats(*tiling) * 4 : -1;
}

}  // namespace secateur
