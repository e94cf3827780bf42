#include "execution/loaded.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "device/check.h"
#include "error.h"
#include "execution/table.h"
#include "program/exchange.h"

namespace secateur::cuda {

namespace {

int32_t selected(int32_t device) {
  check(cudaSetDevice(device), "be selected");
  return device;
}

bool uses_slice_arena(const Program& program, const secateur::Entry& entry) {
  const auto lives_there = [&](int32_t index) {
    return index >= 0 && program.values[index].arena == Arena::slice;
  };
  const auto first = program.instructions.begin() + entry.first;
  return std::any_of(first, first + entry.count, [&](const Instruction& instruction) {
    return std::ranges::any_of(instruction.outputs, lives_there);
  });
}

// A GPU wants much work at once, so a slice is the whole batch, unless values live in the slice
// arena: that has room for as many images as the program says.
Program in_large_slices(Program program) {
  for (secateur::Entry& entry : program.entries) {
    if (uses_slice_arena(program, entry)) continue;
    entry.slice = std::max<int64_t>(entry.images, 1);
  }
  return program;
}

}  // namespace

struct DeviceProgram::Run {
  const std::function<bool()>& cancelled;
  std::span<int64_t> nanoseconds;
  const Stream& stream;
  const Event &start, &stop;

  void stop_if_cancelled() const {
    if (!cancelled()) return;
    stream.synchronize();
    throw Error("cancelled", "The run was cancelled.");
  }

  template <class Work>
  void timed(const Step& step, const Work& work) const {
    if (nanoseconds.empty()) return work();
    check(cudaEventRecord(start.get(), stream.get()), "record an event");
    work();
    check(cudaEventRecord(stop.get(), stream.get()), "record an event");
    stream.synchronize();
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, start.get(), stop.get()), "time its work");
    nanoseconds[step.instruction] +=
        static_cast<int64_t>(1e6 * static_cast<double>(milliseconds));
  }
};

DeviceProgram::DeviceProgram(Program program, int32_t device)
    : program_(in_large_slices(std::move(program))), device_(selected(device)),
      plan_(program_, kernel_for) {
  for (size_t i = 0; i < kArenas; ++i) {
    arenas_[i] = DeviceMemory(program_.arena_bytes[i], arena_name(static_cast<Arena>(i)));
    if (arenas_[i].bytes() == 0) continue;
    check(cudaMemsetAsync(arenas_[i].data(), 0, static_cast<size_t>(arenas_[i].bytes()),
                          stream_.get()),
          "clear its memory");
  }
  partials_ = DeviceMemory(plan_.partial_bytes, "partial sums");
  scratch_ = DeviceMemory(plan_.scratch_bytes, "scratch");
  const auto reports = static_cast<int64_t>(program_.instructions.size());
  reports_ = DeviceMemory(reports * static_cast<int64_t>(sizeof kNoReport), "reports");
  stream_.synchronize();
}

void DeviceProgram::select() const { selected(device_); }

std::array<int64_t, 3> DeviceProgram::sizes() const {
  int64_t arenas = 0;
  for (const DeviceMemory& memory : arenas_) arenas += memory.bytes();
  return {arenas, partials_.bytes(), scratch_.bytes()};
}

const Value& DeviceProgram::accessible(int32_t index, size_t bytes) const {
  if (index < 0 || static_cast<size_t>(index) >= program_.values.size() ||
      program_.values[index].arena == Arena::slice ||
      exchange_bytes(program_.values[index]) != static_cast<int64_t>(bytes)) {
    throw Error("program-invalid", "Expected a value and its bytes, found value " +
                                       std::to_string(index) + " and " + std::to_string(bytes) +
                                       " bytes.");
  }
  return program_.values[index];
}

void DeviceProgram::write(int32_t index, std::span<const std::byte> from) {
  select();
  const Value& value = accessible(index, from.size());
  const size_t bytes =
      static_cast<size_t>(value.image_bytes() * std::max<int64_t>(value.images, 1));
  std::vector<std::byte> converted;
  if (bytes != from.size()) {
    converted.resize(bytes);
    take_in(value, from, converted.data());
    from = converted;
  }
  std::byte* const to = arenas_[static_cast<size_t>(value.arena)].data() + value.offset;
  check(cudaMemcpyAsync(to, from.data(), bytes, cudaMemcpyHostToDevice, stream_.get()),
        "take data in");
  stream_.synchronize();
}

void DeviceProgram::read(int32_t index, std::span<std::byte> to) const {
  select();
  const Value& value = accessible(index, to.size());
  const size_t bytes =
      static_cast<size_t>(value.image_bytes() * std::max<int64_t>(value.images, 1));
  std::vector<std::byte> own(bytes == to.size() ? 0 : bytes);
  const std::byte* const from = arenas_[static_cast<size_t>(value.arena)].data() + value.offset;
  check(cudaMemcpyAsync(own.empty() ? to.data() : own.data(), from, bytes, cudaMemcpyDeviceToHost,
                        stream_.get()),
        "give data out");
  stream_.synchronize();
  if (!own.empty()) give_out(value, own.data(), to);
}

void DeviceProgram::run(int32_t index, const std::function<bool()>& cancelled,
                        std::span<int64_t> nanoseconds) {
  select();
  const Entry& entry = plan_.entries.at(static_cast<size_t>(index));
  const Run run{cancelled, nanoseconds, stream_, start_, stop_};
  if (reports_.bytes() > 0) {
    check(cudaMemsetAsync(reports_.data(), 0xff, static_cast<size_t>(reports_.bytes()),
                          stream_.get()),
          "clear its reports");
  }
  for (const Segment& segment : entry.segments) run_segment(run, entry, segment);
  stream_.synchronize();
  raise_reports(entry);
}

void DeviceProgram::run_segment(const Run& run, const Entry& entry,
                                const Segment& segment) {
  const int64_t slices = segment.sliced ? entry.slices() : 1;
  for (int64_t slice = 0; slice < slices; ++slice) {
    run.stop_if_cancelled();
    for (const Step& step : segment.steps) {
      run.timed(step, [&] { run_step(entry, step, slice); });
    }
  }
  for (const size_t index : segment.reductions) {
    const Step& step = segment.steps[index];
    run.timed(step, [&] { combine(entry, step); });
  }
}

std::byte* DeviceProgram::place(const Argument& argument, int64_t first_image) const {
  if (argument.arena < 0) return nullptr;
  std::byte* const base = arenas_[argument.arena].data() + argument.offset;
  if (argument.arena == static_cast<int32_t>(Arena::slice)) return base;
  return base + first_image * argument.image_bytes;
}

void DeviceProgram::run_step(const Entry& entry, const Step& step, int64_t slice) {
  const int64_t first_image = slice * entry.slice;
  std::array<void*, kMostArguments> inputs{}, outputs{};
  for (size_t i = 0; i < step.inputs.size(); ++i) inputs[i] = place(step.inputs[i], first_image);
  for (size_t i = 0; i < step.outputs.size() && !step.reduces; ++i) {
    outputs[i] = place(step.outputs[i], first_image);
  }
  step.kernel->run(
      {stream_.get(),
       first_image,
       std::min(entry.slice, entry.images - first_image),
       {inputs.data(), step.inputs.size()},
       {outputs.data(), step.outputs.size()},
       scratch_.data(),
       step.reduces ? partials_.data() + step.partial_offset + step.partial_stride * slice
                    : nullptr,
       reinterpret_cast<unsigned long long*>(reports_.data()) + step.instruction});
}

void DeviceProgram::combine(const Entry& entry, const Step& step) {
  std::array<void*, kMostArguments> inputs{}, outputs{};
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    inputs[i] = step.inputs[i].of_images ? nullptr : place(step.inputs[i], 0);
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) outputs[i] = place(step.outputs[i], 0);
  step.kernel->combine({stream_.get(),
                        entry.slices(),
                        entry.images,
                        partials_.data() + step.partial_offset,
                        step.partial_stride,
                        {inputs.data(), step.inputs.size()},
                        {outputs.data(), step.outputs.size()}});
}

void DeviceProgram::raise_reports(const Entry& entry) {
  const auto reports = [](const Step& step) { return step.kernel->reports(); };
  const bool any = std::ranges::any_of(entry.segments, [&](const Segment& segment) {
    return std::ranges::any_of(segment.steps, reports);
  });
  if (!any) return;
  std::vector<unsigned long long> found(program_.instructions.size(), kNoReport);
  check(cudaMemcpyAsync(found.data(), reports_.data(), static_cast<size_t>(reports_.bytes()),
                        cudaMemcpyDeviceToHost, stream_.get()),
        "give its reports out");
  stream_.synchronize();
  for (const Segment& segment : entry.segments) {
    for (const Step& step : segment.steps) {
      const unsigned long long report = found[step.instruction];
      if (report != kNoReport && reports(step)) throw step.kernel->refusal(report);
    }
  }
}

}  // namespace secateur::cuda
