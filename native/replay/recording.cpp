#include "replay/recording.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "error.h"
#include "program/decode.h"

namespace secateur {

namespace {

constexpr char kMagic[] = "SCTRPLY1";

template <class Named>
int32_t index_of(const std::vector<Named>& items, const char* what, const std::string& name) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (items[i].name == name) return static_cast<int32_t>(i);
  }
  throw Error("program-invalid",
              std::string("The recorded program has no ") + what + " named '" + name + "'.");
}

std::span<const std::byte> blob(Reader& reader) {
  return reader.take(static_cast<size_t>(reader.number<uint64_t>()));
}

RecordedRun decode_run(Reader& reader, const Program& program) {
  RecordedRun run;
  const std::string entry = reader.string();
  run.entry = entry.empty() ? -1 : index_of(program.entries, "entry", entry);
  run.feeds.resize(reader.count(12));
  for (Feed& feed : run.feeds) {
    feed.value = index_of(program.values, "value", reader.string());
    feed.bytes = blob(reader);
  }
  run.expectations.resize(reader.count(20));
  for (Expectation& expectation : run.expectations) {
    expectation.value = index_of(program.values, "value", reader.string());
    expectation.tolerance = reader.number<double>();
    expectation.bytes = blob(reader);
  }
  return run;
}

template <class T>
double difference_of(std::span<const std::byte> expected, std::span<const std::byte> found) {
  double largest = 0, worst = 0;
  for (size_t at = 0; at + sizeof(T) <= expected.size(); at += sizeof(T)) {
    T wanted, got;
    std::memcpy(&wanted, expected.data() + at, sizeof(T));
    std::memcpy(&got, found.data() + at, sizeof(T));
    if (wanted == got) {
      largest = std::max(largest, std::abs(static_cast<double>(wanted)));
      continue;
    }
    const double gap = std::abs(static_cast<double>(wanted) - static_cast<double>(got));
    if (!std::isfinite(gap)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(static_cast<double>(wanted)));
    worst = std::max(worst, gap);
  }
  return worst == 0 ? 0 : largest == 0 ? worst : worst / largest;
}

}  // namespace

Recording decode_recording(std::span<const std::byte> bytes) {
  Reader reader(bytes, "recording");
  const auto magic = reader.take(sizeof kMagic - 1);
  if (std::memcmp(magic.data(), kMagic, sizeof kMagic - 1) != 0) {
    throw Error("program-invalid", "Expected a recording, found other bytes.");
  }
  Recording recording;
  recording.program = decode(blob(reader));
  recording.runs.resize(reader.count(12));
  for (RecordedRun& run : recording.runs) run = decode_run(reader, recording.program);
  if (!reader.done()) throw Error("program-invalid", "The recording has bytes after its end.");
  return recording;
}

double difference(DType dtype, std::span<const std::byte> expected,
                  std::span<const std::byte> found) {
  if (expected.size() != found.size()) return std::numeric_limits<double>::infinity();
  switch (dtype) {
    case DType::f32:
    case DType::bf16:
      return difference_of<float>(expected, found);
    case DType::f64:
      return difference_of<double>(expected, found);
    case DType::i32:
      return difference_of<int32_t>(expected, found);
    case DType::bytes:
      return difference_of<uint8_t>(expected, found);
  }
  return std::numeric_limits<double>::infinity();
}

}  // namespace secateur
