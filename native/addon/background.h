// Work outside sessions, on a few threads of the environment's own. Node-API's async work runs on the
// runtime's pool, where it may outlive the environment that waits for it; this does not.
#pragma once

#include <napi.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "addon/arguments.h"
#include "addon/job_queue.h"

namespace secateur {

class Background {
 public:
  class Work {
   public:
    virtual ~Work() = default;
    // On a thread of the pool; must not throw.
    virtual void run() = 0;
    // Makes `run` end soon. On the JavaScript thread, while `run` may run.
    virtual void cancel() = 0;
    // Settles the promise, on the JavaScript thread, once `run` is done.
    virtual void settle(Napi::Env env) = 0;
  };

  // Once for each environment, before any `start`.
  static void install(Napi::Env env);
  static void start(Napi::Env env, std::shared_ptr<Work> work);

  explicit Background(napi_env env);
  ~Background() { close(); }
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

 private:
  static constexpr size_t kThreads = 2;

  void push(std::shared_ptr<Work> work);
  void settle(Napi::Env env, uint32_t id);
  void close();
  static void on_finished(napi_env env, napi_value, void* self, void* id);
  static void on_teardown(void* self);

  napi_env env_;
  napi_threadsafe_function finished_ = nullptr;
  std::map<uint32_t, std::shared_ptr<Work>> pending_;
  std::array<std::unique_ptr<JobQueue>, kThreads> queues_;  // started when first needed
  uint32_t next_ = 0;
};

// A function's result as a promise. `job` runs on a thread of the pool; what it throws rejects.
template <class Result>
class Promised final : public Background::Work {
 public:
  using Job = std::function<Result()>;
  using Wrap = Napi::Value (*)(Napi::Env, const Result&);

  Promised(Napi::Env env, Job job, Wrap wrap, std::function<void()> cancel)
      : deferred_(Napi::Promise::Deferred::New(env)), job_(std::move(job)), wrap_(wrap),
        cancel_(std::move(cancel)) {}

  Napi::Value promise() const { return deferred_.Promise(); }

  void run() override {
    try {
      result_ = job_();
    } catch (...) {
      failure_ = current_failure();
    }
  }

  void cancel() override {
    if (cancel_) cancel_();
  }

  void settle(Napi::Env env) override {
    if (failure_) deferred_.Reject(failure_->in(env).Value());
    else deferred_.Resolve(wrap_(env, *result_));
  }

 private:
  Napi::Promise::Deferred deferred_;
  Job job_;
  Wrap wrap_;
  std::function<void()> cancel_;
  std::optional<Result> result_;
  std::optional<Failure> failure_;
};

template <class Result>
Napi::Value promised(Napi::Env env, typename Promised<Result>::Job job,
                     typename Promised<Result>::Wrap wrap, std::function<void()> cancel = {}) {
  auto work = std::make_shared<Promised<Result>>(env, std::move(job), wrap, std::move(cancel));
  const Napi::Value promise = work->promise();
  Background::start(env, std::move(work));
  return promise;
}

}  // namespace secateur
