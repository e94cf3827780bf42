#include "plugin/plugin.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <vector>

#include "error.h"
#include "plugin/interface.h"
#include "program/encode.h"

namespace secateur {

namespace {

// Error keeps its code by address, so a plugin's must become one of ours.
const char* known_code(const char* code) {
  static constexpr std::array kCodes{"program-invalid", "addon-failed",  "option-invalid",
                                     "data-mismatch",   "numeric-failure", "cancelled"};
  for (const char* const known : kCodes) {
    if (std::strcmp(known, code) == 0) return known;
  }
  return "addon-failed";
}

void require(int status, const SecateurFailure& failure) {
  if (status == 0) return;
  throw Error(known_code(failure.code), failure.sentence);
}

// Never closed: a GPU's runtime does not survive that.
const SecateurPlugin& table_in(const std::string& path) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const reason = dlerror();
    throw Error("addon-failed", "The plugin could not be opened (" +
                                    std::string(reason == nullptr ? "no reason given" : reason) +
                                    ").");
  }
  const auto function =
      reinterpret_cast<SecateurPluginFunction>(dlsym(library, SECATEUR_PLUGIN_SYMBOL));
  const SecateurPlugin* const table = function == nullptr ? nullptr : function();
  if (table == nullptr) {
    throw Error("addon-failed", "Expected a plugin of secateur in " + path +
                                    ", found another library.");
  }
  if (table->version != SECATEUR_PLUGIN_VERSION) {
    throw Error("addon-failed", "Expected a plugin of version " +
                                    std::to_string(SECATEUR_PLUGIN_VERSION) + " in " + path +
                                    ", found version " + std::to_string(table->version) +
                                    "; build it again.");
  }
  return *table;
}

class PluginProgram final : public LoadedProgram {
 public:
  PluginProgram(const SecateurPlugin& table, int32_t device, const Program& program)
      : table_(table) {
    const std::vector<std::byte> bytes = encode(program);
    SecateurFailure failure{};
    require(table.load(device, bytes.data(), bytes.size(), &loaded_, &failure), failure);
  }
  ~PluginProgram() override { table_.unload(loaded_); }
  PluginProgram(const PluginProgram&) = delete;
  PluginProgram& operator=(const PluginProgram&) = delete;

  MemorySizes sizes() const override {
    int64_t sizes[3]{};
    table_.sizes(loaded_, sizes);
    return {sizes[0], sizes[1], sizes[2]};
  }

  void write(int32_t value, std::span<const std::byte> from) override {
    SecateurFailure failure{};
    require(table_.write(loaded_, value, from.data(), from.size(), &failure), failure);
  }

  void read(int32_t value, std::span<std::byte> to) const override {
    SecateurFailure failure{};
    require(table_.read(loaded_, value, to.data(), to.size(), &failure), failure);
  }

  void run(int32_t entry, const std::atomic<bool>& cancelled,
           std::span<int64_t> nanoseconds) override {
    const auto asked = [](const void* context) {
      return int{static_cast<const std::atomic<bool>*>(context)->load(std::memory_order_relaxed)};
    };
    SecateurFailure failure{};
    int64_t* const times = nanoseconds.empty() ? nullptr : nanoseconds.data();
    require(table_.run(loaded_, entry, asked, &cancelled, times, &failure), failure);
  }

 private:
  const SecateurPlugin& table_;
  SecateurLoaded* loaded_ = nullptr;
};

class PluginExecutor final : public Executor {
 public:
  PluginExecutor(const SecateurPlugin& table, int32_t device) : table_(table), device_(device) {}

  int64_t packed_bytes(std::span<const int64_t> ints) const override {
    int64_t bytes = 0;
    SecateurFailure failure{};
    require(table_.packed_bytes(ints.data(), ints.size(), &bytes, &failure), failure);
    return bytes;
  }

  std::unique_ptr<LoadedProgram> load(const Program& program) const override {
    return std::make_unique<PluginProgram>(table_, device_, program);
  }

 private:
  const SecateurPlugin& table_;
  const int32_t device_;
};

std::string describe(const SecateurPlugin& table, int32_t device) {
  std::array<char, 512> text{};
  SecateurFailure failure{};
  require(table.describe(device, text.data(), text.size(), &failure), failure);
  return text.data();
}

}  // namespace

std::unique_ptr<Executor> open_plugin(const std::string& path, int32_t device) {
  const SecateurPlugin& table = table_in(path);
  describe(table, device);
  return std::make_unique<PluginExecutor>(table, device);
}

std::string describe_plugin(const std::string& path, int32_t device) {
  const SecateurPlugin& table = table_in(path);
  return std::string(table.kind) + ": " + describe(table, device);
}

}  // namespace secateur
