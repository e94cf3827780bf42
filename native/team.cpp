#include "team.h"

#include <immintrin.h>

#include <string>
#include <system_error>

#include "cpu_features.h"
#include "error.h"

namespace secateur {

namespace {

// Segments follow one another within microseconds, less than a sleep and a wake-up take; but
// threads may outnumber cores, so nobody spins for long.
constexpr int kSpins = 2000;

template <class T>
void wait_while(const std::atomic<T>& variable, T value) {
  for (int i = 0; i < kSpins; ++i) {
    if (variable.load(std::memory_order_acquire) != value) return;
    _mm_pause();
  }
  variable.wait(value, std::memory_order_acquire);
}

}  // namespace

Team::Team(int threads) {
  try {
    for (int thread = 1; thread < threads; ++thread) {
      workers_.emplace_back([this, thread] { work(thread); });
    }
  } catch (const std::system_error& refused) {
    const auto started = workers_.size();
    stop_ = true;
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    throw Error("addon-failed", "Expected " + std::to_string(threads) +
                                    " threads, but the system gave " +
                                    std::to_string(started + 1) + " (" + refused.what() +
                                    "); ask for fewer threads.");
  }
}

Team::~Team() {
  stop_ = true;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void Team::run(int64_t pieces, const Task& task) {
  task_ = &task;
  pieces_ = pieces;
  next_.store(0, std::memory_order_relaxed);
  failure_ = nullptr;
  const bool alone = workers_.empty() || pieces < 2;
  if (!alone) {
    busy_.store(static_cast<int32_t>(workers_.size()), std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  take_pieces(0);
  if (!alone) {
    for (int32_t left; (left = busy_.load(std::memory_order_acquire)) != 0;) {
      wait_while(busy_, left);
    }
  }
  task_ = nullptr;
  if (failure_) std::rethrow_exception(failure_);
}

void Team::work(int thread) {
  flush_denormals();
  // Rounds count from 0 and the constructor starts none, so a worker that starts late misses none.
  for (uint32_t seen = 0;; ++seen) {
    wait_while(round_, seen);
    if (stop_) return;
    take_pieces(thread);
    if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
  }
}

void Team::take_pieces(int thread) {
  try {
    for (;;) {
      const int64_t piece = next_.fetch_add(1, std::memory_order_relaxed);
      if (piece >= pieces_) return;
      (*task_)(piece, thread);
    }
  } catch (...) {
    next_.store(pieces_, std::memory_order_relaxed);
    const std::scoped_lock lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

}  // namespace secateur
