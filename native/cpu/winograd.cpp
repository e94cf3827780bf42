#include "winograd.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "cpu/parts.h"
#include "cpu/precision.h"
#include "error.h"
#include "winograd_gradient.h"
#include "winograd_shape.h"

namespace secateur {

namespace winograd {

namespace {

constexpr size_t kInts = ConvolutionShape::kInts;

// Tiles in one block: enough for long matrix products, few enough to stay in the cache.
int64_t block_tiles(const Tiling& c) {
  const int64_t per_tile =
      kElements * 4 * (padded_channels(c.source_channels) + padded_channels(c.result_channels));
  constexpr int64_t kBlockBytes = 256 << 10;
  return std::clamp<int64_t>(kBlockBytes / per_tile / 8 * 8, 16, 64);
}

class Convolution final : public Kernel {
 public:
  Convolution(const Tiling& tiling, bool source_bf16, bool result_bf16,
              bool residual_bf16, bool relu)
      : tiling_(tiling),
        source_{block_tiles(tiling), tiling.source_channels},
        result_{block_tiles(tiling), tiling.result_channels},
        source_bf16_(source_bf16),
        result_bf16_(result_bf16),
        residual_bf16_(residual_bf16),
        relu_(relu) {}

  int64_t scratch_bytes() const override {
    return 4 * (tiling_.padded_elements() + source_.floats() + result_.floats() +
                result_.row());
  }

  int64_t parts() const override {
    const int64_t products = kElements * tiling_.tiles() * tiling_.source_channels *
                             tiling_.result_channels;
    return parts_for(tiling_.tile_rows() / kLeastTileRows, products);
  }

  void run(const Slice& slice) const override {
    float* const padded = static_cast<float*>(slice.scratch);
    float* const source = padded + tiling_.padded_elements();
    const Range rows = part_of(tiling_.tile_rows(), 1, slice);
    float* const bias = source + source_.floats() + result_.floats();
    const float* const given = argument<const float>(slice, 2);
    if (given != nullptr) {
      std::fill_n(bias, result_.row(), 0.0f);
      std::copy_n(given, tiling_.result_channels, bias);
    }
    const int64_t row_stride = tiling_.padded_columns() * source_.row();
    int64_t first = 0, count = 0;  // tiles of the block
    for (int64_t image = 0; image < slice.images; ++image) {
      pad_rows(padded, rows, source_image(slice, image));
      if (count == 0) first = image * tiling_.tiles() + rows.first * tiling_.tile_columns();
      for (int64_t tile = 0; tile < rows.count() * tiling_.tile_columns(); ++tile) {
        const int64_t row = tile / tiling_.tile_columns() * kTile;
        const int64_t column = tile % tiling_.tile_columns() * kTile;
        transform_input(source_.of(source, 0).at(0, count), source_.stride(),
                        padded + row * row_stride + column * source_.row(), row_stride,
                        source_.row());
        if (++count < source_.tiles) continue;
        finish(slice, first, count, given == nullptr ? nullptr : bias);
        first += count;
        count = 0;
      }
      // The next picture's tiles do not follow on these.
      if (slice.parts == 1 || count == 0) continue;
      finish(slice, first, count, given == nullptr ? nullptr : bias);
      count = 0;
    }
    if (count > 0) finish(slice, first, count, given == nullptr ? nullptr : bias);
  }

 private:
  // Fewer rows of tiles in a part repeat too much of their neighbours' padding.
  static constexpr int64_t kLeastTileRows = 3;

  // Pads what rows of tiles read. Parts of slices of several pictures read all of each.
  void pad_rows(float* padded, const Range& rows, Image image) const {
    const int64_t height = rows.count() * kTile + 2;
    int64_t top = tiling_.top - rows.first * kTile;
    if (top < 0) {
      const int64_t skipped = std::min(-top, image.height);
      image.values = element_at(image.values, image.bf16, skipped * image.width * image.channels);
      image.height -= skipped;
      top = 0;
    }
    image.height = std::min(image.height, height - top);
    pad_image(padded, height, tiling_.padded_columns(), top, tiling_.left, image);
  }

  template <class T>
  static T* argument(const Slice& slice, size_t input) {
    return slice.inputs.size() > input ? static_cast<T*>(slice.inputs[input]) : nullptr;
  }

  Image source_image(const Slice& slice, int64_t image) const {
    const int64_t bytes = image * tiling_.source_elements() * (source_bf16_ ? 2 : 4);
    return {static_cast<std::byte*>(slice.inputs[0]) + bytes, source_bf16_,
            tiling_.source_height, tiling_.source_width, tiling_.source_channels};
  }

  Image result_image(void* values, bool bf16, int64_t image) const {
    const int64_t bytes = image * tiling_.result_elements() * (bf16 ? 2 : 4);
    return {static_cast<std::byte*>(values) + bytes, bf16, tiling_.result_height,
            tiling_.result_width, tiling_.result_channels};
  }

  // Products and outputs of the tiles [first, first + count) of the slice.
  void finish(const Slice& slice, int64_t first, int64_t count, const float* bias) const {
    float* const source = static_cast<float*>(slice.scratch) + tiling_.padded_elements();
    float* const result = source + source_.floats();
    float* const weights = static_cast<float*>(slice.inputs[1]);
    const int64_t depth = tiling_.source_channels;
    for (int64_t e = 0; e < kElements; ++e) {
      multiply(result_.of(result, e), source_.of(source, e),
               {weights + e * depth * result_.row(), depth * 16}, (count + 7) / 8 * 8,
               result_.row(), depth);
    }
    void* const residual = argument<void>(slice, 3);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t image = (first + i) / tiling_.tiles();
      const int64_t tile = (first + i) % tiling_.tiles();
      const Image added = result_image(residual, residual_bf16_, image);
      transform_output(result_image(slice.outputs[0], result_bf16_, image),
                       tile / tiling_.tile_columns() * kTile,
                       tile % tiling_.tile_columns() * kTile, result_.of(result, 0).at(0, i),
                       result_.stride(),
                       {bias, residual == nullptr ? nullptr : &added, relu_});
    }
  }

  const Tiling tiling_;
  const Elements source_, result_;
  const bool source_bf16_, result_bf16_, residual_bf16_, relu_;
};

// Weights in the transformed domain: 36 Planes, rows over source channels.
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

// The pack_convolution whose output this instruction reads; nullptr where there is none.
const Instruction* packed_by(const Program& program, const Instruction& instruction) {
  const auto found = std::ranges::find_if(program.instructions, [&](const Instruction& other) {
    return other.op == Op::pack_convolution && other.outputs[0] == instruction.inputs[1];
  });
  return found == program.instructions.end() ? nullptr : &*found;
}

bool is_bf16(const Value* value) { return value != nullptr && value->dtype == DType::bf16; }

std::unique_ptr<Kernel> pack(const Call& call) {
  const auto tiling = packed(call.instruction.ints);
  if (!tiling) return nullptr;
  call.require_input(0, ConvolutionShape::parse(call.instruction.ints).weight_shape());
  call.require_output(0, {packed_floats(*tiling) * 4});
  const bool bf16 = parse_precision(call.integer(kInts + 1)) == Precision::bf16;
  return std::make_unique<Pack>(*tiling, call.integer(kInts) == 1, bf16);
}

std::unique_ptr<Kernel> convolution(const Call& call, bool backward) {
  const Instruction* const pack = packed_by(call.program, call.instruction);
  if (pack == nullptr) return nullptr;
  const auto tiling = packed(pack->ints);
  if (!tiling) return nullptr;
  const auto& ints = call.instruction.ints;
  if (!std::equal(ints.begin(), ints.begin() + kInts, pack->ints.begin()) ||
      (pack->ints[kInts] == 1) != backward) {
    call.refuse("expected weights packed for the same shape and direction.");
  }
  const std::vector<int64_t> result{tiling->result_height, tiling->result_width,
                                    tiling->result_channels};
  call.require_input(0, {tiling->source_height, tiling->source_width,
                         tiling->source_channels});
  call.require_input(1, {packed_floats(*tiling) * 4});
  call.require_output(0, result);
  if (!backward) {
    call.require_input(2, {tiling->result_channels});
    call.require_input(3, result);
  }
  return std::make_unique<Convolution>(*tiling, is_bf16(call.input(0)),
                                       is_bf16(call.output(0)),
                                       !backward && is_bf16(call.input(3)),
                                       !backward && call.integer(kInts) != 0);
}

}  // namespace

}  // namespace winograd

std::unique_ptr<Kernel> winograd_kernel(const Program& program, const Instruction& instruction,
                                        const Entry& entry) {
  const Call call{program, instruction, entry};
  switch (instruction.op) {
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
