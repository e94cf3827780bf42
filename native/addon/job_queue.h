// One thread of its own that does jobs in the order they came.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace secateur {

class JobQueue {
 public:
  using Job = std::function<void()>;  // must not throw

  // Throws std::system_error when the system gives no thread.
  JobQueue() : thread_([this] { work(); }) {}
  ~JobQueue() { stop(); }

  void push(Job job) {
    {
      const std::scoped_lock lock(mutex_);
      jobs_.push_back(std::move(job));
    }
    ready_.notify_one();
  }

  // Does a short job at once on the calling thread if nothing is queued or running; says whether.
  bool do_if_idle(const Job& job) {
    const std::scoped_lock lock(mutex_);
    if (busy_ || !jobs_.empty()) return false;
    job();
    return true;
  }

  // Waits for the running job, drops the queued ones and ends the thread. May be called again.
  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      stopped_ = true;
      jobs_.clear();
    }
    ready_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void work() {
    for (std::unique_lock lock(mutex_);;) {
      ready_.wait(lock, [this] { return stopped_ || !jobs_.empty(); });
      if (stopped_) return;
      const Job job = std::move(jobs_.front());
      jobs_.pop_front();
      busy_ = true;
      lock.unlock();
      job();
      lock.lock();
      busy_ = false;
    }
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Job> jobs_;
  bool busy_ = false, stopped_ = false;
  std::thread thread_;  // last: it uses what is above
};

}  // namespace secateur
