#include "cpu/execution/team.h"

#include <immintrin.h>

#include <algorithm>
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
  if (workers_.empty() || pieces < 2) {
    for (int64_t piece = 0; piece < pieces; ++piece) task(piece, 0);
    return;
  }
  // Rounds count pieces in 32 bits.
  constexpr int64_t kMostPieces = 1 << 30;
  for (int64_t first = 0; first < pieces; first += kMostPieces) {
    const auto count = static_cast<uint32_t>(std::min(kMostPieces, pieces - first));
    run_round(count, [&](int64_t piece, int thread) { task(first + piece, thread); });
  }
}

void Team::run_round(uint32_t pieces, const Task& task) {
  task_ = &task;
  pieces_ = pieces;
  failure_ = nullptr;
  finished_.store(0, std::memory_order_relaxed);
  const uint64_t round = (left_.load(std::memory_order_relaxed) >> 32) + 1;
  left_.store(round << 32 | pieces, std::memory_order_release);
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  take_pieces(0);
  for (uint32_t done; (done = finished_.load(std::memory_order_acquire)) != pieces;) {
    wait_while(finished_, done);
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
  }
}

// Takes one of the pieces left, if any; `ticket` is what was left before.
bool Team::take(uint64_t& ticket) {
  ticket = left_.load(std::memory_order_relaxed);
  while ((ticket & 0xffffffff) != 0) {
    if (left_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void Team::finish(uint32_t pieces) {
  // The round, and with it pieces_, may be over as soon as the last is counted.
  const uint32_t all = pieces_;
  if (finished_.fetch_add(pieces, std::memory_order_acq_rel) + pieces == all) {
    finished_.notify_one();
  }
}

void Team::take_pieces(int thread) {
  for (uint64_t ticket; take(ticket);) {
    try {
      (*task_)(pieces_ - (ticket & 0xffffffff), thread);
    } catch (...) {
      {
        const std::scoped_lock lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
      // Nobody starts what is left.
      uint32_t skipped = 0;
      while (take(ticket)) ++skipped;
      if (skipped > 0) finish(skipped);
    }
    finish(1);
  }
}

}  // namespace secateur
