#include "program/encode.h"

#include <cstdint>
#include <cstring>
#include <string>

namespace secateur {

namespace {

class Writer {
 public:
  void bytes(const void* from, size_t count) {
    const auto* const start = static_cast<const std::byte*>(from);
    bytes_.insert(bytes_.end(), start, start + count);
  }
  template <class T>
  void number(T value) {
    bytes(&value, sizeof value);
  }
  void count(size_t value) { number(static_cast<uint32_t>(value)); }
  void string(const std::string& text) {
    count(text.size());
    bytes(text.data(), text.size());
  }
  template <class T>
  void numbers(const std::vector<T>& values) {
    count(values.size());
    for (const T value : values) number(value);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

void write_value(Writer& writer, const Value& value) {
  writer.string(value.name);
  writer.number(static_cast<uint32_t>(value.dtype));
  writer.number(static_cast<uint32_t>(value.arena));
  writer.number(value.images);
  writer.number(value.offset);
  writer.numbers(value.shape);
}

void write_instruction(Writer& writer, const Instruction& instruction) {
  writer.string(operations()[static_cast<size_t>(instruction.op)].name);
  writer.string(instruction.layer);
  writer.numbers(instruction.inputs);
  writer.numbers(instruction.outputs);
  writer.numbers(instruction.ints);
  writer.numbers(instruction.floats);
}

void write_entry(Writer& writer, const Entry& entry) {
  writer.string(entry.name);
  writer.number(static_cast<uint32_t>(entry.first));
  writer.number(static_cast<uint32_t>(entry.count));
  writer.number(entry.images);
  writer.number(entry.slice);
}

}  // namespace

std::vector<std::byte> encode(const Program& program) {
  Writer writer;
  writer.bytes("SCTPROG1", 8);
  for (const int64_t bytes : program.arena_bytes) writer.number(bytes);
  writer.count(program.values.size());
  for (const Value& value : program.values) write_value(writer, value);
  writer.count(program.instructions.size());
  for (const Instruction& each : program.instructions) write_instruction(writer, each);
  writer.count(program.entries.size());
  for (const Entry& entry : program.entries) write_entry(writer, entry);
  return writer.take();
}

}  // namespace secateur
