#include "emulator/matrix.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator/machine.h"

namespace secateur::emulator {

namespace {

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kRows = 8, kRowBytes = 16;  // of a matrix that is loaded
constexpr int kLeftRows = 16, kColumns = 8;

struct Loaded {
  const void* row;
  bool transposed;
  uint32_t* registers;
};

struct Factors {
  float* sums;
  const uint32_t *left, *right;
};

// Columns 2 * (lane % 4) and the next of row lane / 4 become rows and column.
uint32_t transposed(const unsigned char (&matrix)[kRows][kRowBytes], int lane) {
  const int column = lane / 4, row = lane % 4 * 2;
  uint16_t pair[2];
  std::memcpy(&pair[0], matrix[row] + column * 2, 2);
  std::memcpy(&pair[1], matrix[row + 1] + column * 2, 2);
  return pair[0] | static_cast<uint32_t>(pair[1]) << 16;
}

void complete_load(void* const arguments[32]) {
  for (int index = 0; index < 4; ++index) {
    unsigned char matrix[kRows][kRowBytes];
    for (int row = 0; row < kRows; ++row) {
      std::memcpy(matrix[row], static_cast<Loaded*>(arguments[index * kRows + row])->row, kRowBytes);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const auto& own = *static_cast<Loaded*>(arguments[lane]);
      if (own.transposed) {
        own.registers[index] = transposed(matrix, lane);
      } else {
        std::memcpy(&own.registers[index], matrix[lane / 4] + lane % 4 * 4, 4);
      }
    }
  }
}

float bf16_of(uint32_t pair, int which) {
  return std::bit_cast<float>(which == 0 ? pair << 16 : pair & 0xffff0000u);
}

// Tensor cores do not see the last 13 bits.
float tf32_of(uint32_t bits) { return std::bit_cast<float>(bits & 0xffffe000u); }

// Numbers of a factor: [rows][depth], for `depth` in a step of one register and then of its second.
template <int kEach>
float number(uint32_t bits, int which) {
  return kEach == 2 ? bf16_of(bits, which) : tf32_of(bits);
}

template <int kEach>
void complete_product(void* const arguments[32]) {
  constexpr int kDepth = 8 * kEach;
  float left[kLeftRows][kDepth], right[kDepth][kColumns];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = *static_cast<Factors*>(arguments[lane]);
    const int row = lane / 4, first = lane % 4 * kEach;
    for (int which = 0; which < kEach; ++which) {
      for (int i = 0; i < 4; ++i) {
        left[row + i % 2 * 8][first + which + i / 2 * kDepth / 2] = number<kEach>(own.left[i], which);
      }
      for (int i = 0; i < 2; ++i) {
        right[first + which + i * kDepth / 2][row] = number<kEach>(own.right[i], which);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = *static_cast<Factors*>(arguments[lane]);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = own.sums[i];
      for (int k = 0; k < kDepth; ++k) sum = std::fma(left[row][k], right[k][column], sum);
      own.sums[i] = sum;
    }
  }
}

}  // namespace

void load_matrices(uint32_t (&registers)[4], const void* row, bool transposed) {
  require_aligned(row, kRowBytes);
  Loaded argument{row, transposed, registers};
  together(kWholeWarp, &argument, complete_load);
}

void add_product_bf16(float (&sums)[4], const uint32_t (&left)[4], const uint32_t* right) {
  Factors argument{sums, left, right};
  together(kWholeWarp, &argument, complete_product<2>);
}

void add_product_tf32(float (&sums)[4], const uint32_t (&left)[4], const uint32_t* right) {
  Factors argument{sums, left, right};
  together(kWholeWarp, &argument, complete_product<1>);
}

uint32_t to_tf32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // NaN and infinity stay what they are.
  if ((bits & 0x7f800000u) == 0x7f800000u) return bits;
  // To nearest, ties away from zero.
  return (bits + 0x1000u) & 0xffffe000u;
}

}  // namespace secateur::emulator
