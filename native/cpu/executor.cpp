#include "cpu/executor.h"

#include <string>

#include "cpu/execution/loaded.h"
#include "error.h"

namespace secateur {

namespace {

constexpr int kMostThreads = 1024;

class CpuExecutor final : public Executor {
 public:
  CpuExecutor(int threads, Engine engine) : threads_(threads), backend_(make_cpu_backend(engine)) {}

  int64_t packed_bytes(std::span<const int64_t> ints) const override {
    return backend_->packed_bytes(ints);
  }

  std::unique_ptr<LoadedProgram> load(const Program& program) const override {
    return std::make_unique<CpuProgram>(program, threads_, *backend_);
  }

 private:
  const int threads_;
  const std::unique_ptr<Backend> backend_;
};

}  // namespace

std::unique_ptr<Executor> make_cpu_executor(int threads, Engine engine) {
  if (threads < 1 || threads > kMostThreads) {
    throw Error("option-invalid", "Expected between 1 and " + std::to_string(kMostThreads) +
                                      " threads, found " + std::to_string(threads) + ".");
  }
  return std::make_unique<CpuExecutor>(threads, engine);
}

}  // namespace secateur
