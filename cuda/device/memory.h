// Device memory and streams that free themselves.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "device/check.h"

namespace secateur::cuda {

class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Its contents are anything. `what` names the use in the refusal, which says how much there is.
  DeviceMemory(int64_t bytes, const std::string& what) : bytes_(bytes) {
    if (bytes == 0) return;
    void* data = nullptr;
    if (cudaMalloc(&data, static_cast<size_t>(bytes)) != cudaSuccess) {
      size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw Error("addon-failed", "Expected " + std::to_string(bytes >> 20) +
                                      " MiB of GPU memory for the " + what + ", found " +
                                      std::to_string(free >> 20) + " MiB of " +
                                      std::to_string(total >> 20) +
                                      " free; use a smaller batch.");
    }
    data_ = static_cast<std::byte*>(data);
  }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(DeviceMemory&& other) noexcept { swap(other); }
  DeviceMemory& operator=(DeviceMemory&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void swap(DeviceMemory& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
};

class Stream {
 public:
  Stream() { check(cudaStreamCreate(&stream_), "make a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void synchronize() const { check(cudaStreamSynchronize(stream_), "finish its work"); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "make an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace secateur::cuda
