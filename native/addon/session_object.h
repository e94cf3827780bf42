// The JavaScript face of a session: its own thread, its queue, and the promises it resolves.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "addon/arguments.h"
#include "addon/executor_choice.h"
#include "addon/job_queue.h"
#include "session/session.h"

namespace secateur {

// Copied bytes on their way in or out.
struct Transfer {
  int32_t value;
  std::unique_ptr<std::byte[]> data;
  size_t size;

  std::span<std::byte> bytes() const { return {data.get(), size}; }
};

// Feeds, a run and fetches as one crossing of the boundary.
struct RunJob {
  explicit RunJob(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}

  std::atomic<bool> cancelled{false};
  int32_t entry = -1;  // -1: nothing to run
  std::vector<Transfer> feeds, fetches;
  std::vector<int64_t> nanoseconds;  // per instruction, empty unless profiled
  std::optional<Failure> failure;
  Napi::Promise::Deferred deferred;
};

class SessionObject : public Napi::ObjectWrap<SessionObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // (program: Uint8Array, threads: number, engine: string, plugin?: string, device?: number)
  explicit SessionObject(const Napi::CallbackInfo& info);
  ~SessionObject() override { close(); }

 private:
  // (value: number, data: TypedArray): void
  void write(const Napi::CallbackInfo& info);
  // (job: number, entry: number, feeds: number[], data: TypedArray[], fetches: number[],
  //  profile: boolean): Promise<{ fetched: ArrayBuffer[], nanoseconds: Float64Array }>
  Napi::Value run(const Napi::CallbackInfo& info);
  // (job: number): void
  void cancel(const Napi::CallbackInfo& info);
  // (): { arenas, partials, scratch }
  Napi::Value memory(const Napi::CallbackInfo& info);
  // Cancels what is queued or running, whose promises reject, and frees everything after it.
  void dispose(const Napi::CallbackInfo& info);

  Session& open(const Napi::CallbackInfo& info);
  Transfer copy_in(const Napi::CallbackInfo& info, int32_t value, const Napi::Value& data);
  // Tells the garbage collector of the memory taken or given back.
  void account(bool taken);
  void execute(RunJob& job);
  void settle(Napi::Env env, uint32_t id);
  void cancel_all();
  // Joins the thread and frees everything; promises still open never settle. Idempotent.
  void close();

  // Called on the JavaScript thread with a job's number; env is null while it shuts down.
  static void on_finished(napi_env env, napi_value, void* self, void* id);
  // The environment ends: nothing native may run on.
  static void on_teardown(void* self);

  napi_env env_;
  std::unique_ptr<Session> session_;
  napi_threadsafe_function finished_ = nullptr;
  std::map<uint32_t, std::shared_ptr<RunJob>> pending_;
  bool disposed_ = false;
  std::unique_ptr<JobQueue> queue_;
};

}  // namespace secateur
