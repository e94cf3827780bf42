#include "addon/background.h"

namespace secateur {

namespace {

void check(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
}

}  // namespace

void Background::install(Napi::Env env) { env.SetInstanceData(new Background(env)); }

void Background::start(Napi::Env env, std::shared_ptr<Work> work) {
  env.GetInstanceData<Background>()->push(std::move(work));
}

Background::Background(napi_env env) : env_(env) {
  const auto name = Napi::String::New(env, "secateur background");
  check(env, napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                             this, on_finished, &finished_));
  check(env, napi_unref_threadsafe_function(env, finished_));
  // Hooks run last in, first out: ours stops the threads before the function above goes.
  check(env, napi_add_env_cleanup_hook(env, on_teardown, this));
}

void Background::push(std::shared_ptr<Work> work) {
  const uint32_t id = next_++;
  if (finished_ == nullptr) throw Napi::Error::New(env_, "The environment is going down.");
  std::unique_ptr<JobQueue>& queue = queues_[id % kThreads];
  guarded(env_, [&] {
    if (queue == nullptr) queue = std::make_unique<JobQueue>();
  });
  if (pending_.empty()) check(env_, napi_ref_threadsafe_function(env_, finished_));
  pending_[id] = work;
  queue->push([this, work = std::move(work), id] {
    work->run();
    napi_call_threadsafe_function(finished_, reinterpret_cast<void*>(uintptr_t{id}),
                                  napi_tsfn_nonblocking);
  });
}

void Background::on_finished(napi_env env, napi_value, void* self, void* id) {
  if (env == nullptr) return;
  const auto number = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(id));
  static_cast<Background*>(self)->settle(env, number);
}

void Background::settle(Napi::Env env, uint32_t id) {
  const Napi::HandleScope scope(env);
  const auto found = pending_.find(id);
  if (found == pending_.end()) return;
  const std::shared_ptr<Work> work = std::move(found->second);
  pending_.erase(found);
  work->settle(env);
  if (pending_.empty()) napi_unref_threadsafe_function(env, finished_);
}

void Background::close() {
  if (finished_ == nullptr) return;
  for (const auto& [id, work] : pending_) work->cancel();
  for (auto& queue : queues_) queue.reset();
  napi_remove_env_cleanup_hook(env_, on_teardown, this);
  napi_release_threadsafe_function(finished_, napi_tsfn_abort);
  finished_ = nullptr;
  pending_.clear();
}

void Background::on_teardown(void* self) { static_cast<Background*>(self)->close(); }

}  // namespace secateur
