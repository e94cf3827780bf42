#include "program/program.h"

#include <array>
#include <sstream>

namespace secateur {

namespace {

std::vector<std::string> words(const char* text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

}  // namespace

const char* arena_name(Arena arena) {
  static constexpr std::array<const char*, kArenas> kNames{"weights", "state", "feeds",
                                                           "activations", "slices"};
  return kNames[static_cast<size_t>(arena)];
}

int64_t Value::elements() const {
  int64_t product = 1;
  for (const int64_t extent : shape) product *= extent;
  return product;
}

int64_t Value::image_bytes() const { return elements() * dtype_bytes(dtype); }

const std::vector<Operation>& operations() {
  // Never destroyed: kernels may still run on other threads while the process exits.
  static const auto* const table = new std::vector<Operation>{
#define OPERATION(name, kind, inputs, outputs, ints, floats) \
  {#name, Kind::kind, words(inputs), words(outputs), words(ints), words(floats)},
#include "operations.def"
#undef OPERATION
  };
  return *table;
}

}  // namespace secateur
