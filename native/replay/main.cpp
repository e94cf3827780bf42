// replay: runs a recording without JavaScript, for sanitizers, fuzzing and profiles.
//
//   replay FILE [threads] [automatic | portable | onednn | PLUGIN] [times]
//
// FILE may be a folder, whose files *.recording run in the order of their names; one that is refused
// counts as missed. PLUGIN is the path of another executor than the CPU, with a slash in it; its first device serves.
// Prints a line for every expectation. Exits with 1 when one is missed, 2 when the recording or its
// program is refused, in one sentence.

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "cpu/executor.h"
#include "error.h"
#include "plugin/plugin.h"
#include "replay/recording.h"
#include "session/session.h"

namespace {

using secateur::Engine;
using secateur::Error;

std::vector<char> contents(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error("file-missing", std::string("Cannot read ") + path + ".");
  return {std::istreambuf_iterator<char>(file), {}};
}

int number(const char* text) {
  int result = 0;
  const char* const end = text + std::strlen(text);
  const auto parsed = std::from_chars(text, end, result);
  if (parsed.ec != std::errc{} || parsed.ptr != end || result < 1) {
    throw Error("option-invalid", std::string("Expected a number from 1, found ") + text + ".");
  }
  return result;
}

Engine engine(const std::string& name) {
  if (name == "automatic") return Engine::automatic;
  if (name == "portable") return Engine::portable;
  if (name == "onednn") return Engine::onednn;
  throw Error("option-invalid",
              "Expected automatic, portable or onednn as the engine, found " + name + ".");
}

// Returns how many expectations were missed.
int run_once(secateur::Session& session, const secateur::RecordedRun& run) {
  for (const secateur::Feed& feed : run.feeds) session.write(feed.value, feed.bytes);
  const auto start = std::chrono::steady_clock::now();
  const std::atomic<bool> cancelled{false};
  if (run.entry >= 0) session.run(run.entry, cancelled, {});
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  if (run.entry >= 0) {
    std::printf("%s: %.3f ms\n", session.program().entries[run.entry].name.c_str(), spent.count());
  }
  int missed = 0;
  for (const secateur::Expectation& expectation : run.expectations) {
    const secateur::Value& value = session.program().values[expectation.value];
    session.check_access(expectation.value);
    std::vector<std::byte> found(static_cast<size_t>(session.host_bytes(expectation.value)));
    session.read(expectation.value, found);
    const double gap = secateur::difference(value.dtype, expectation.bytes, found);
    const bool met = gap <= expectation.tolerance;
    std::printf("  %s: %g of %g%s\n", value.name.c_str(), gap, expectation.tolerance,
                met ? "" : " MISSED");
    missed += !met;
  }
  return missed;
}

int replay_file(const std::string& path, const secateur::Executor& executor, int times) {
  const std::vector<char> bytes = contents(path.c_str());
  const secateur::Recording recording =
      secateur::decode_recording(std::as_bytes(std::span(bytes)));
  secateur::Session session(recording.program, executor);
  int missed = 0;
  for (; times > 0; --times) {
    for (const secateur::RecordedRun& run : recording.runs) missed += run_once(session, run);
  }
  return missed;
}

// Returns how many recordings missed something, or were refused.
int replay_folder(const std::string& path, const secateur::Executor& executor, int times) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.path().extension() == ".recording") files.push_back(entry.path());
  }
  if (files.empty()) {
    throw Error("file-missing", "Expected files *.recording in " + path + ", found none.");
  }
  std::ranges::sort(files);
  int missed = 0;
  for (const auto& file : files) {
    std::printf("%s\n", file.filename().c_str());
    std::fflush(stdout);  // Names the culprit where a time limit or a sanitizer ends the process.
    try {
      missed += replay_file(file, executor, times) > 0;
    } catch (const std::exception& error) {
      std::printf("  REFUSED: %s\n", error.what());
      ++missed;
    }
  }
  std::printf("%zu recordings, %d missed\n", files.size(), missed);
  return missed;
}

int replay(int count, char** arguments) {
  if (count < 2 || count > 5) {
    throw Error("option-invalid", "Expected: replay FILE [threads] [engine] [times].");
  }
  const int threads = count > 2 ? number(arguments[2]) : 1;
  const std::string chosen = count > 3 ? arguments[3] : "automatic";
  const auto executor = chosen.find('/') == std::string::npos
                            ? secateur::make_cpu_executor(threads, engine(chosen))
                            : secateur::open_plugin(chosen, 0);
  const int times = count > 4 ? number(arguments[4]) : 1;
  const auto run = std::filesystem::is_directory(arguments[1]) ? replay_folder : replay_file;
  return run(arguments[1], *executor, times) == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return replay(count, arguments);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "replay: %s\n", error.what());
    return 2;
  }
}
