// A machine that runs grids of blocks of threads as CUDA describes it: each thread is a fiber with a
// stack of its own, which gives way where threads wait for one another. It looks for mistakes that a
// GPU forgives or hides:
//
// - shared memory and fresh device memory hold NaNs, and so do the zones around them;
// - what lies around them must be unchanged after a grid (under AddressSanitizer it may not even be
//   read);
// - copies into shared memory arrive as late as they may, and addresses that suit no access end the grid;
// - threads that wait for others that never come end the grid with a reason;
// - the environment variable SECATEUR_EMULATOR_ORDER (forward | backward | random) says in which
//   order blocks and threads take turns: results that depend on it lack a barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

namespace secateur::emulator {

struct Index {
  unsigned x, y, z;
};

// Where the running thread is.
struct Where {
  Index thread, block, threads, blocks;
};

const Where& where();

// Runs `kernel` once for every thread. False when the grid ended early or damaged memory; reason()
// then says why. One grid runs at a time, whoever asks.
bool run_grid(Index blocks, Index threads, size_t shared_bytes,
              const std::function<void()>& kernel);
const char* reason();

// The block's shared memory, which has `bytes` or more.
void* shared_memory(size_t bytes);

void wait_for_block();
void wait_for_warp(unsigned mask);

// What the lanes of a warp do together: `complete` sees all their arguments (of lanes outside
// `mask`: nullptr) once the last one has come. Lanes that meet must mean the same.
using Complete = void (*)(void* const arguments[32]);
void together(unsigned mask, void* argument, Complete complete);

enum class Shuffle { from, down, exclusive_or };

struct ShuffleArgument {
  Shuffle kind;
  uint64_t bits, result;
  int lane, selector, width;
};
void shuffle_lanes(unsigned mask, ShuffleArgument& argument);

template <class T>
T shuffle(Shuffle kind, unsigned mask, T value, int selector, int width) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  ShuffleArgument argument{kind, 0, 0, 0, selector, width};
  std::memcpy(&argument.bits, &value, sizeof value);
  shuffle_lanes(mask, argument);
  std::memcpy(&value, &argument.result, sizeof value);
  return value;
}

unsigned ballot(unsigned mask, bool predicate);

// Copies of the running thread into shared memory: queued, closed into groups, and waited for until all
// groups but the latest `pending` are there. Until then the target holds poison, and the source is read
// as late as a GPU may read it. Without a source, zeros arrive.
void queue_copy(void* to, const void* from, size_t bytes);
void close_copies();
void wait_for_copies(int pending);

// Ends the grid where an address does not suit the access.
void require_aligned(const void* address, size_t bytes);

// Device memory, with zones around it. nullptr where there is none left.
void* allocate(size_t bytes);
// False for what was never allocated.
bool release(void* data);

}  // namespace secateur::emulator
