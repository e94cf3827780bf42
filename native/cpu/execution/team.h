// A persistent team of threads: the caller and its workers take numbered pieces of a task until
// none are left.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace secateur {

class Team {
 public:
  // piece: 0 .. pieces - 1, each taken once; thread: 0 (the caller) .. threads - 1.
  using Task = std::function<void(int64_t piece, int thread)>;

  // Starts threads - 1 workers. Throws Error("addon-failed") when the system refuses one.
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Returns when all pieces are done. Rethrows the first exception after everyone stopped; pieces
  // not yet taken are then skipped. Only one thread may call, and not from within a task.
  void run(int64_t pieces, const Task& task);

 private:
  void work(int thread);
  void take_pieces(int thread);

  bool take(uint64_t& ticket);
  void finish(uint32_t pieces);
  void run_round(uint32_t pieces, const Task& task);

  std::vector<std::thread> workers_;
  // Of the round: they change only while no piece is left to take and none is being worked on.
  const Task* task_ = nullptr;
  uint32_t pieces_ = 0;
  // The round above, the pieces that nobody has taken below: a thread that wakes up late takes
  // nothing of a round that is over, so nobody waits for it.
  alignas(64) std::atomic<uint64_t> left_{0};
  alignas(64) std::atomic<uint32_t> round_{0};     // incremented to start one
  alignas(64) std::atomic<uint32_t> finished_{0};  // pieces done or skipped
  std::atomic<bool> stop_{false};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

}  // namespace secateur
