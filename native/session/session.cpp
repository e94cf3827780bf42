#include "session/session.h"

#include <string>
#include <utility>

#include "error.h"
#include "program/exchange.h"
#include "program/verify.h"

namespace secateur {

namespace {

Program verified(Program program) {
  verify(program);
  return program;
}

}  // namespace

Session::Session(Program program, const Executor& executor)
    : program_(verified(std::move(program))), loaded_(executor.load(program_)) {}

int64_t Session::host_bytes(int32_t index) const { return exchange_bytes(program_.values[index]); }

void Session::check_access(int32_t value) const {
  if (value < 0 || static_cast<size_t>(value) >= program_.values.size()) {
    throw Error("program-invalid", "The program has " + std::to_string(program_.values.size()) +
                                       " values; there is none with index " +
                                       std::to_string(value) + ".");
  }
  if (program_.values[value].arena != Arena::slice) return;
  throw Error("program-invalid", "Value '" + program_.values[value].name +
                                     "' lives in the slice arena, which keeps nothing between "
                                     "runs; compile it into another arena to reach it.");
}

void Session::check_write(int32_t index, int64_t bytes) const {
  check_access(index);
  if (bytes == host_bytes(index)) return;
  throw Error("program-invalid", "Expected " + std::to_string(host_bytes(index)) +
                                     " bytes for value '" + program_.values[index].name +
                                     "', found " + std::to_string(bytes) + ".");
}

void Session::write(int32_t index, std::span<const std::byte> from) {
  check_write(index, static_cast<int64_t>(from.size()));
  loaded_->write(index, from);
}

void Session::read(int32_t index, std::span<std::byte> to) const {
  check_access(index);
  const Value& value = program_.values[index];
  if (static_cast<int64_t>(to.size()) != host_bytes(index)) {
    throw Error("program-invalid", "Expected room for " + std::to_string(host_bytes(index)) +
                                       " bytes of value '" + value.name + "', found " +
                                       std::to_string(to.size()) + ".");
  }
  loaded_->read(index, to);
}

void Session::run(int32_t index, const std::atomic<bool>& cancelled,
                  std::span<int64_t> nanoseconds) {
  if (index < 0 || static_cast<size_t>(index) >= program_.entries.size()) {
    throw Error("program-invalid", "The program has " + std::to_string(program_.entries.size()) +
                                       " entries; there is none with index " +
                                       std::to_string(index) + ".");
  }
  loaded_->run(index, cancelled, nanoseconds);
}

}  // namespace secateur
