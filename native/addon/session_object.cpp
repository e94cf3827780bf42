#include "addon/session_object.h"

#include <cstring>

#include "program/decode.h"

namespace secateur {

namespace {

void check(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
}

}  // namespace

Napi::Function SessionObject::define(Napi::Env env) {
  return DefineClass(env, "Session",
                     {InstanceMethod<&SessionObject::write>("write"),
                      InstanceMethod<&SessionObject::run>("run"),
                      InstanceMethod<&SessionObject::cancel>("cancel"),
                      InstanceMethod<&SessionObject::memory>("memory"),
                      InstanceMethod<&SessionObject::dispose>("dispose")});
}

SessionObject::SessionObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SessionObject>(info), env_(info.Env()) {
  const auto bytes = bytes_argument(info, info[0]);
  const ExecutorChoice choice = executor_argument(info, 1);
  guarded(info.Env(), [&] {
    session_ = std::make_unique<Session>(decode(bytes), *choice.open());
    queue_ = std::make_unique<JobQueue>();
  });
  const auto name = Napi::String::New(info.Env(), "secateur session");
  check(env_, napi_create_threadsafe_function(env_, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                              this, on_finished, &finished_));
  // An idle session keeps no process alive.
  check(env_, napi_unref_threadsafe_function(env_, finished_));
  account(true);
  // Hooks run last in, first out: ours stops the thread before the function above goes.
  check(env_, napi_add_env_cleanup_hook(env_, on_teardown, this));
}

void SessionObject::account(bool taken) {
  const MemorySizes sizes = session_->sizes();
  const int64_t bytes = sizes.arenas + sizes.partials + sizes.scratch;
  Napi::MemoryManagement::AdjustExternalMemory(env_, taken ? bytes : -bytes);
}

Session& SessionObject::open(const Napi::CallbackInfo& info) {
  if (!disposed_ && session_) return *session_;
  throw Failure{"program-invalid", "The session was disposed; open another."}.in(info.Env());
}

Transfer SessionObject::copy_in(const Napi::CallbackInfo& info, int32_t value,
                                const Napi::Value& data) {
  const auto from = bytes_argument(info, data);
  return guarded(info.Env(), [&] {
    session_->check_write(value, static_cast<int64_t>(from.size()));
    Transfer transfer{value, std::make_unique_for_overwrite<std::byte[]>(from.size()), from.size()};
    std::memcpy(transfer.data.get(), from.data(), from.size());
    return transfer;
  });
}

void SessionObject::write(const Napi::CallbackInfo& info) {
  Session& session = open(info);
  const int32_t value = int_argument(info, info[0]);
  const auto from = bytes_argument(info, info[1]);
  guarded(info.Env(), [&] { session.check_write(value, static_cast<int64_t>(from.size())); });
  if (queue_->do_if_idle([&] { session.write(value, from); })) return;
  auto transfer = std::make_shared<Transfer>(copy_in(info, value, info[1]));
  queue_->push([&session, transfer] { session.write(transfer->value, transfer->bytes()); });
}

Napi::Value SessionObject::run(const Napi::CallbackInfo& info) {
  Session& session = open(info);
  const auto id = static_cast<uint32_t>(int_argument(info, info[0]));
  auto job = std::make_shared<RunJob>(info.Env());
  job->entry = int_argument(info, info[1]);
  const auto values = list_argument(info, info[2]), data = list_argument(info, info[3]);
  if (values.size() != data.size()) refuse_argument(info, "as many feeds as data");
  for (size_t i = 0; i < values.size(); ++i) {
    job->feeds.push_back(copy_in(info, int_argument(info, values[i]), data[i]));
  }
  for (const Napi::Value& fetch : list_argument(info, info[4])) {
    const int32_t value = int_argument(info, fetch);
    guarded(info.Env(), [&] {
      session.check_access(value);
      const auto size = static_cast<size_t>(session.host_bytes(value));
      job->fetches.push_back({value, std::make_unique_for_overwrite<std::byte[]>(size), size});
    });
  }
  if (info[5].ToBoolean()) job->nanoseconds.resize(session.program().instructions.size());
  if (pending_.empty()) {
    // While it works, the object and the process stay.
    Ref();
    check(env_, napi_ref_threadsafe_function(env_, finished_));
  }
  pending_[id] = job;
  queue_->push([this, job, id] {
    execute(*job);
    napi_call_threadsafe_function(finished_, reinterpret_cast<void*>(uintptr_t{id}),
                                  napi_tsfn_nonblocking);
  });
  return job->deferred.Promise();
}

void SessionObject::execute(RunJob& job) {
  try {
    if (job.cancelled) throw Error("cancelled", "The run was cancelled.");
    for (const Transfer& feed : job.feeds) session_->write(feed.value, feed.bytes());
    if (job.entry >= 0) session_->run(job.entry, job.cancelled, job.nanoseconds);
    for (const Transfer& fetch : job.fetches) session_->read(fetch.value, fetch.bytes());
  } catch (...) {
    job.failure = current_failure();
  }
}

void SessionObject::on_finished(napi_env env, napi_value, void* self, void* id) {
  if (env == nullptr) return;
  const auto number = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(id));
  static_cast<SessionObject*>(self)->settle(env, number);
}

void SessionObject::settle(Napi::Env env, uint32_t id) {
  const Napi::HandleScope scope(env);
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const auto job = found->second;
  pending_.erase(found);
  if (job->failure) {
    job->deferred.Reject(job->failure->in(env).Value());
  } else {
    auto fetched = Napi::Array::New(env, job->fetches.size());
    for (uint32_t i = 0; i < job->fetches.size(); ++i) {
      const Transfer& fetch = job->fetches[i];
      auto buffer = Napi::ArrayBuffer::New(env, fetch.size);
      std::memcpy(buffer.Data(), fetch.data.get(), fetch.size);
      fetched.Set(i, buffer);
    }
    auto nanoseconds = Napi::Float64Array::New(env, job->nanoseconds.size());
    for (size_t i = 0; i < job->nanoseconds.size(); ++i) {
      nanoseconds[i] = static_cast<double>(job->nanoseconds[i]);
    }
    auto result = Napi::Object::New(env);
    result.Set("fetched", fetched);
    result.Set("nanoseconds", nanoseconds);
    job->deferred.Resolve(result);
  }
  if (!pending_.empty()) return;
  napi_unref_threadsafe_function(env, finished_);
  if (disposed_) close();
  Unref();
}

void SessionObject::cancel(const Napi::CallbackInfo& info) {
  const auto found = pending_.find(static_cast<uint32_t>(int_argument(info, info[0])));
  if (found != pending_.end()) found->second->cancelled = true;
}

Napi::Value SessionObject::memory(const Napi::CallbackInfo& info) {
  const MemorySizes sizes = open(info).sizes();
  auto result = Napi::Object::New(info.Env());
  result.Set("arenas", static_cast<double>(sizes.arenas));
  result.Set("partials", static_cast<double>(sizes.partials));
  result.Set("scratch", static_cast<double>(sizes.scratch));
  return result;
}

void SessionObject::dispose(const Napi::CallbackInfo&) {
  disposed_ = true;
  cancel_all();
  if (pending_.empty()) close();
}

void SessionObject::cancel_all() {
  for (const auto& [id, job] : pending_) job->cancelled = true;
}

void SessionObject::close() {
  disposed_ = true;
  if (queue_) queue_->stop();
  queue_.reset();
  if (finished_ != nullptr) account(false);
  session_.reset();
  if (finished_ == nullptr) return;
  napi_remove_env_cleanup_hook(env_, on_teardown, this);
  napi_release_threadsafe_function(finished_, napi_tsfn_abort);
  finished_ = nullptr;
}

void SessionObject::on_teardown(void* self) {
  auto* const session = static_cast<SessionObject*>(self);
  session->cancel_all();
  session->close();
}

}  // namespace secateur
