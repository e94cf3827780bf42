#include "program/decode.h"

#include <cstring>

#include "error.h"

namespace secateur {

namespace {

constexpr char kMagic[] = "SCTPROG1";
constexpr uint32_t kLongestString = 4096;
constexpr uint32_t kHighestRank = 8;

Value decode_value(Reader& reader) {
  Value value;
  value.name = reader.string();
  const uint32_t dtype = reader.u32(), arena = reader.u32();
  if (dtype > static_cast<uint32_t>(DType::bytes) || arena >= kArenas) {
    throw Error("program-invalid", "Expected a known type and arena for value '" + value.name +
                                       "', found " + std::to_string(dtype) + " and " +
                                       std::to_string(arena) + ".");
  }
  value.dtype = static_cast<DType>(dtype);
  value.arena = static_cast<Arena>(arena);
  value.images = reader.i64();
  value.offset = reader.i64();
  value.shape = reader.numbers<int64_t>();
  if (value.shape.size() > kHighestRank) {
    throw Error("program-invalid", "Expected at most " + std::to_string(kHighestRank) +
                                       " dimensions for value '" + value.name + "', found " +
                                       std::to_string(value.shape.size()) + ".");
  }
  return value;
}

Op operation_named(const std::string& name, const std::string& layer) {
  const auto& table = operations();
  for (size_t i = 0; i < table.size(); ++i) {
    if (name == table[i].name) return static_cast<Op>(i);
  }
  throw Error("program-invalid",
              "Layer '" + layer + "' asks for operation '" + name + "', which this build lacks.");
}

Instruction decode_instruction(Reader& reader) {
  Instruction instruction;
  const std::string name = reader.string();
  instruction.layer = reader.string();
  instruction.op = operation_named(name, instruction.layer);
  instruction.inputs = reader.numbers<int32_t>();
  instruction.outputs = reader.numbers<int32_t>();
  instruction.ints = reader.numbers<int64_t>();
  instruction.floats = reader.numbers<double>();
  return instruction;
}

Entry decode_entry(Reader& reader) {
  Entry entry;
  entry.name = reader.string();
  const uint32_t first = reader.u32(), count = reader.u32();
  if (first > INT32_MAX || count > INT32_MAX) {
    throw Error("program-invalid", "Entry '" + entry.name + "' has an impossible range.");
  }
  entry.first = static_cast<int32_t>(first);
  entry.count = static_cast<int32_t>(count);
  entry.images = reader.i64();
  entry.slice = reader.i64();
  return entry;
}

}  // namespace

std::span<const std::byte> Reader::take(size_t length) {
  if (length > bytes_.size() - at_) {
    throw Error("program-invalid", std::string("The ") + what_ + " ends at byte " +
                                       std::to_string(bytes_.size()) + ", but " +
                                       std::to_string(length) + " more were expected at byte " +
                                       std::to_string(at_) + ".");
  }
  const auto part = bytes_.subspan(at_, length);
  at_ += length;
  return part;
}

uint32_t Reader::count(size_t least) {
  const uint32_t stated = u32();
  if (stated > (bytes_.size() - at_) / least) {
    throw Error("program-invalid", std::string("The ") + what_ + " states " +
                                       std::to_string(stated) + " items at byte " +
                                       std::to_string(at_ - 4) + ", more than its bytes can hold.");
  }
  return stated;
}

std::string Reader::string() {
  const uint32_t length = u32();
  if (length > kLongestString) {
    throw Error("program-invalid", std::string("The ") + what_ + " has a name of " +
                                       std::to_string(length) + " bytes; at most " +
                                       std::to_string(kLongestString) + " are allowed.");
  }
  const auto part = take(length);
  return std::string(reinterpret_cast<const char*>(part.data()), part.size());
}

Program decode(std::span<const std::byte> bytes) {
  Reader reader(bytes, "program");
  const auto magic = reader.take(sizeof kMagic - 1);
  if (std::memcmp(magic.data(), kMagic, sizeof kMagic - 1) != 0) {
    throw Error("program-invalid", "Expected a serialised program, found other bytes.");
  }
  Program program;
  for (int64_t& size : program.arena_bytes) size = reader.i64();
  // The smallest encodings: empty strings and lists.
  program.values.resize(reader.count(32));
  for (Value& value : program.values) value = decode_value(reader);
  program.instructions.resize(reader.count(24));
  for (Instruction& instruction : program.instructions) instruction = decode_instruction(reader);
  program.entries.resize(reader.count(28));
  for (Entry& entry : program.entries) entry = decode_entry(reader);
  if (!reader.done()) {
    throw Error("program-invalid", "The program has bytes after its end, at byte " +
                                       std::to_string(reader.position()) + ".");
  }
  return program;
}

}  // namespace secateur
