#include "emulator/machine.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "emulator/fiber.h"
#include "emulator/memory.h"

namespace secateur::emulator {

namespace {

constexpr unsigned kLanes = 32;
constexpr unsigned kMostThreads = 1024;
constexpr size_t kMostSharedBytes = 227 << 10;  // of a block on sm_90

enum class State { ready, at_block, at_warp, ended };

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
  unsigned group;
};

struct Thread {
  std::unique_ptr<Fiber> fiber;
  State state;
  Index index;
  unsigned mask;  // at_warp: whom it waits for
  void* argument;
  Complete complete;
  std::vector<Copy> copies;  // that have not arrived
  unsigned groups;           // of copies, closed
};

// Turns of blocks and threads; see SECATEUR_EMULATOR_ORDER.
class Order {
 public:
  Order() {
    const char* const chosen = std::getenv("SECATEUR_EMULATOR_ORDER");
    const std::string_view name = chosen == nullptr ? "forward" : chosen;
    backward_ = name == "backward";
    random_ = name == "random";
  }

  bool changes() const { return random_; }

  void arrange(std::vector<unsigned>& turns, unsigned count) {
    turns.resize(count);
    std::iota(turns.begin(), turns.end(), 0u);
    if (backward_) std::reverse(turns.begin(), turns.end());
    if (!random_) return;
    for (unsigned i = count; i > 1; --i) std::swap(turns[i - 1], turns[next() % i]);
  }

 private:
  // Marsaglia, "Xorshift RNGs" (2003).
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

  bool backward_ = false, random_ = false;
  uint64_t state_ = 0x9e3779b97f4a7c15;
};

class Machine {
 public:
  std::mutex mutex;  // held while a grid runs
  std::string reason;
  Where where{};

  bool run(Index blocks, Index threads, size_t shared_bytes, const std::function<void()>& kernel);
  void* shared(size_t bytes);
  void wait_for_block();
  void together(unsigned mask, void* argument, Complete complete);
  void shuffle(unsigned mask, ShuffleArgument& argument);
  void queue_copy(const Copy& copy);
  void close_copies() { ++running_->groups; }
  void wait_for_copies(unsigned pending);
  void require_aligned(const void* address, size_t bytes);

  void* allocate(size_t bytes);
  bool release(void* data);

 private:
  bool refuse(const std::string& why) {
    if (reason.empty()) reason = why;
    failed_ = true;
    return false;
  }
  // From within a kernel: this thread never goes on.
  [[noreturn]] void give_up(const std::string& why) {
    refuse(why);
    for (;;) running_->fiber->give_way();
  }

  bool run_block(unsigned count, const std::function<void()>& kernel);
  void take_turn(Thread& thread, const std::function<void()>& kernel, bool first);
  void open_barrier();
  void meet(const Thread& last);
  bool memory_intact();

  std::vector<Thread> threads_;
  std::vector<unsigned> turns_, block_turns_;
  std::unique_ptr<GuardedMemory> shared_;
  std::map<void*, std::unique_ptr<GuardedMemory>> allocations_;
  std::mutex allocations_mutex_;
  Order order_;
  Thread* running_ = nullptr;
  unsigned count_ = 0, live_ = 0, waiting_ = 0;
  bool failed_ = false;
};

// Never destroyed: sessions may end after static objects do.
Machine& machine() {
  static auto* const only = new Machine;
  return *only;
}

unsigned volume(Index index) { return index.x * index.y * index.z; }

Index unfold(unsigned i, Index extents) {
  return {i % extents.x, i / extents.x % extents.y, i / extents.x / extents.y};
}

bool Machine::run(Index blocks, Index threads, size_t shared_bytes,
                  const std::function<void()>& kernel) {
  reason.clear();
  failed_ = false;
  const unsigned count = volume(threads);
  if (count == 0 || count > kMostThreads || volume(blocks) == 0 || blocks.y > 65535 ||
      blocks.z > 65535 || shared_bytes > kMostSharedBytes) {
    return refuse("the grid is larger than a GPU allows, or empty");
  }
  order_ = Order();
  shared_ = std::make_unique<GuardedMemory>(shared_bytes);
  if (threads_.size() < count) threads_.resize(count);
  where = {{}, {}, threads, blocks};
  order_.arrange(block_turns_, volume(blocks));
  for (const unsigned block : block_turns_) {
    where.block = unfold(block, blocks);
    shared_->poison();
    if (!run_block(count, kernel)) return false;
  }
  return memory_intact();
}

bool Machine::memory_intact() {
  if (!shared_->intact()) return refuse("a kernel wrote beyond its shared memory");
  const std::scoped_lock lock(allocations_mutex_);
  for (const auto& [data, memory] : allocations_) {
    if (!memory->intact()) return refuse("a kernel wrote beyond an allocation");
  }
  return true;
}

bool Machine::run_block(unsigned count, const std::function<void()>& kernel) {
  count_ = live_ = count;
  waiting_ = 0;
  order_.arrange(turns_, count);
  // Those that had no turn yet are not those that ended in an earlier block.
  for (unsigned i = 0; i < count; ++i) threads_[i].state = State::ready;
  // A thread that ends without waiting hands its fiber to the next.
  std::vector<std::unique_ptr<Fiber>> free;
  for (const unsigned turn : turns_) {
    Thread& thread = threads_[turn];
    thread.index = unfold(turn, where.threads);
    thread.copies.clear();
    thread.groups = 0;
    if (!free.empty() && !thread.fiber) {
      thread.fiber = std::move(free.back());
      free.pop_back();
    }
    if (!thread.fiber) thread.fiber = std::make_unique<Fiber>();
    take_turn(thread, kernel, true);
    if (failed_) return false;
    if (thread.state == State::ended) free.push_back(std::move(thread.fiber));
  }
  while (live_ > 0) {
    bool moved = false;
    if (order_.changes()) order_.arrange(turns_, count);
    for (const unsigned turn : turns_) {
      Thread& thread = threads_[turn];
      if (thread.state != State::ready) continue;
      take_turn(thread, kernel, false);
      if (failed_) return false;
      moved = true;
    }
    if (!moved) return refuse("threads wait for others that never come");
  }
  for (unsigned i = 0; i < count && !free.empty(); ++i) {
    if (threads_[i].fiber) continue;
    threads_[i].fiber = std::move(free.back());
    free.pop_back();
  }
  return true;
}

void Machine::take_turn(Thread& thread, const std::function<void()>& kernel, bool first) {
  running_ = &thread;
  where.thread = thread.index;
  if (first) {
    thread.fiber->start(kernel);
  } else {
    thread.fiber->resume();
  }
  if (!thread.fiber->ended() || thread.state == State::ended) return;
  thread.state = State::ended;
  --live_;
  open_barrier();
}

// Threads that ended wait for nobody, and nobody for them.
void Machine::open_barrier() {
  if (waiting_ == 0 || waiting_ < live_) return;
  waiting_ = 0;
  for (unsigned i = 0; i < count_; ++i) {
    if (threads_[i].state == State::at_block) threads_[i].state = State::ready;
  }
}

void Machine::wait_for_block() {
  Thread& self = *running_;
  self.state = State::at_block;
  ++waiting_;
  open_barrier();
  if (self.state == State::at_block) self.fiber->give_way();
}

void Machine::together(unsigned mask, void* argument, Complete complete) {
  Thread& self = *running_;
  self.mask = mask;
  self.argument = argument;
  self.complete = complete;
  self.state = State::at_warp;
  meet(self);
  if (self.state == State::at_warp) self.fiber->give_way();
}

// Lets the lanes of a warp go on once all that `last` waits for are there.
void Machine::meet(const Thread& last) {
  const auto position = static_cast<unsigned>(&last - threads_.data());
  const unsigned first = position / kLanes * kLanes;
  void* arguments[kLanes] = {};
  if ((last.mask >> (position - first) & 1) == 0) give_up("a lane is not in the mask it waits for");
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if ((last.mask >> lane & 1) == 0) continue;
    if (first + lane >= count_ || threads_[first + lane].state == State::ended) {
      give_up("a warp waits for a lane that has ended or never was");
    }
    const Thread& other = threads_[first + lane];
    if (other.state != State::at_warp) return;
    if (other.mask != last.mask || other.complete != last.complete) {
      give_up("lanes of a warp met in different operations");
    }
    arguments[lane] = other.argument;
  }
  last.complete(arguments);
  for (unsigned lane = 0; lane < kLanes; ++lane) {
    if (last.mask >> lane & 1) threads_[first + lane].state = State::ready;
  }
}

void Machine::shuffle(unsigned mask, ShuffleArgument& argument) {
  argument.lane = static_cast<int>((running_ - threads_.data()) % kLanes);
  together(mask, &argument, [](void* const arguments[kLanes]) {
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      auto* const own = static_cast<ShuffleArgument*>(arguments[lane]);
      if (own == nullptr) continue;
      const int start = own->lane / own->width * own->width;
      const int within = own->lane - start;
      const int wanted = own->kind == Shuffle::from   ? own->selector % own->width
                         : own->kind == Shuffle::down ? within + own->selector
                                                      : within ^ own->selector;
      const int source = wanted < own->width ? start + wanted : own->lane;
      const auto* const other = static_cast<const ShuffleArgument*>(arguments[source]);
      // What a lane that does not take part would give is undefined.
      own->result = other == nullptr ? ~uint64_t{0} : other->bits;
    }
  });
}

void Machine::queue_copy(const Copy& copy) {
  require_aligned(copy.to, copy.bytes);
  require_aligned(copy.from, copy.bytes);
  std::memset(copy.to, kPoison, copy.bytes);
  running_->copies.push_back(copy);
  running_->copies.back().group = running_->groups;
}

void Machine::wait_for_copies(unsigned pending) {
  std::erase_if(running_->copies, [&](const Copy& copy) {
    if (copy.group + pending >= running_->groups) return false;
    if (copy.from == nullptr) {
      std::memset(copy.to, 0, copy.bytes);
    } else {
      std::memcpy(copy.to, copy.from, copy.bytes);
    }
    return true;
  });
}

void Machine::require_aligned(const void* address, size_t bytes) {
  if (std::bit_cast<uintptr_t>(address) % bytes != 0) {
    give_up("a kernel used an address that is not aligned for the access");
  }
}

void* Machine::shared(size_t bytes) {
  if (bytes > shared_->bytes()) give_up("a kernel uses more shared memory than it was given");
  return shared_->data();
}

void* Machine::allocate(size_t bytes) {
  const std::scoped_lock lock(allocations_mutex_);
  try {
    auto memory = std::make_unique<GuardedMemory>(bytes);
    void* const data = memory->data();
    allocations_[data] = std::move(memory);
    return data;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool Machine::release(void* data) {
  const std::scoped_lock lock(allocations_mutex_);
  return allocations_.erase(data) == 1;
}

}  // namespace

const Where& where() { return machine().where; }

bool run_grid(Index blocks, Index threads, size_t shared_bytes,
              const std::function<void()>& kernel) {
  const std::scoped_lock lock(machine().mutex);
  return machine().run(blocks, threads, shared_bytes, kernel);
}

const char* reason() { return machine().reason.c_str(); }
void* shared_memory(size_t bytes) { return machine().shared(bytes); }
void wait_for_block() { machine().wait_for_block(); }
void wait_for_warp(unsigned mask) {
  machine().together(mask, nullptr, [](void* const[kLanes]) {});
}
void together(unsigned mask, void* argument, Complete complete) {
  machine().together(mask, argument, complete);
}
void shuffle_lanes(unsigned mask, ShuffleArgument& argument) {
  machine().shuffle(mask, argument);
}

void queue_copy(void* to, const void* from, size_t bytes) {
  machine().queue_copy({to, from, bytes, 0});
}
void close_copies() { machine().close_copies(); }
void wait_for_copies(int pending) {
  machine().wait_for_copies(static_cast<unsigned>(pending));
}
void require_aligned(const void* address, size_t bytes) {
  machine().require_aligned(address, bytes);
}

unsigned ballot(unsigned mask, bool predicate) {
  struct Vote {
    bool predicate;
    unsigned result;
  } vote{predicate, 0};
  machine().together(mask, &vote, [](void* const arguments[kLanes]) {
    unsigned result = 0;
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      const auto* const other = static_cast<const Vote*>(arguments[lane]);
      if (other != nullptr && other->predicate) result |= 1u << lane;
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
      if (auto* const own = static_cast<Vote*>(arguments[lane])) own->result = result;
    }
  });
  return vote.result;
}

void* allocate(size_t bytes) { return machine().allocate(bytes); }
bool release(void* data) { return machine().release(data); }

}  // namespace secateur::emulator
