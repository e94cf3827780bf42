// The library's one exported symbol: programs loaded onto a GPU, behind plain C.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "convolution/pack.h"
#include "device/check.h"
#include "error.h"
#include "execution/loaded.h"
#include "plugin/interface.h"
#include "program/decode.h"

struct SecateurLoaded {
  secateur::cuda::DeviceProgram program;
};

namespace {

using secateur::Error;
using secateur::cuda::check;

void tell(SecateurFailure* failure, const char* code, const char* sentence) {
  std::snprintf(failure->code, sizeof failure->code, "%s", code);
  std::snprintf(failure->sentence, sizeof failure->sentence, "%s", sentence);
}

// No exception may leave through C.
template <class Body>
int guarded(SecateurFailure* failure, const Body& body) {
  try {
    body();
    return 0;
  } catch (const Error& error) {
    tell(failure, error.code, error.what());
  } catch (const std::bad_alloc&) {
    tell(failure, "addon-failed", "The system has no more memory; use a smaller batch.");
  } catch (const std::exception& error) {
    tell(failure, "addon-failed",
         (std::string("The GPU's plugin failed: ") + error.what() + ".").c_str());
  }
  return 1;
}

// "13.0" of 13000.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

int describe(int32_t device, char* text, uint64_t room, SecateurFailure* failure) {
  return guarded(failure, [&] {
    int count = 0;
    check(cudaGetDeviceCount(&count), "be counted");
    if (device < 0 || device >= count) {
      throw Error("addon-failed", "Expected one of " + std::to_string(count) +
                                      " GPUs, found number " + std::to_string(device) + ".");
    }
    check(cudaSetDevice(device), "be selected");
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device), "be described");
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "tell its memory");
    int driver = 0, runtime = 0;
    check(cudaDriverGetVersion(&driver), "tell its driver");
    check(cudaRuntimeGetVersion(&runtime), "tell its runtime");
    std::snprintf(text, room, "%s (sm_%d%d, %zu MiB, driver for CUDA %s, runtime %s)",
                  properties.name, properties.major, properties.minor, total >> 20,
                  version_text(driver).c_str(), version_text(runtime).c_str());
  });
}

int packed_bytes(const int64_t* ints, uint64_t count, int64_t* bytes, SecateurFailure* failure) {
  return guarded(failure, [&] { *bytes = secateur::cuda::packed_bytes({ints, count}); });
}

int load(int32_t device, const void* program, uint64_t bytes, SecateurLoaded** loaded,
         SecateurFailure* failure) {
  return guarded(failure, [&] {
    const std::span serialised(static_cast<const std::byte*>(program), bytes);
    *loaded = new SecateurLoaded{{secateur::decode(serialised), device}};
  });
}

void unload(SecateurLoaded* loaded) { delete loaded; }

void sizes(const SecateurLoaded* loaded, int64_t result[3]) {
  const auto found = loaded->program.sizes();
  std::memcpy(result, found.data(), sizeof found);
}

int write(SecateurLoaded* loaded, int32_t value, const void* from, uint64_t bytes,
          SecateurFailure* failure) {
  return guarded(failure, [&] {
    loaded->program.write(value, {static_cast<const std::byte*>(from), bytes});
  });
}

int read(const SecateurLoaded* loaded, int32_t value, void* to, uint64_t bytes,
         SecateurFailure* failure) {
  return guarded(failure,
                 [&] { loaded->program.read(value, {static_cast<std::byte*>(to), bytes}); });
}

int run(SecateurLoaded* loaded, int32_t entry, int (*cancelled)(const void*), const void* context,
        int64_t* nanoseconds, SecateurFailure* failure) {
  return guarded(failure, [&] {
    const size_t times = nanoseconds == nullptr ? 0 : loaded->program.instructions();
    loaded->program.run(entry, [&] { return cancelled(context) != 0; }, {nanoseconds, times});
  });
}

#if defined(SECATEUR_EMULATOR)
constexpr const char* kKind = "emulator";
#else
constexpr const char* kKind = "cuda";
#endif

constexpr SecateurPlugin kTable = {SECATEUR_PLUGIN_VERSION, kKind, describe, packed_bytes, load,
                                   unload, sizes, write, read, run};

}  // namespace

extern "C" __attribute__((visibility("default"))) const SecateurPlugin* secateur_plugin() {
  return &kTable;
}
