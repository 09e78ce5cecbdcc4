// Memory on the GPU and pinned memory of the host, which grow and are kept. The driver's context must be current.
#pragma once

#include "driver.h"

namespace jangtq::cuda {

class DeviceMemory {
   public:
    explicit DeviceMemory(const Driver& driver) : driver_(driver) {}
    ~DeviceMemory() { driver_.memory_free(memory_); }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    // At least so many bytes; what was there before is lost. Throws DriverError.
    DevicePointer reserve(size_t bytes) {
        if (bytes <= capacity_) return memory_;
        driver_.memory_free(memory_);
        memory_ = 0;
        capacity_ = 0;
        driver_.check(driver_.memory_take(&memory_, bytes), "taking memory on the GPU");
        capacity_ = bytes;
        return memory_;
    }
    DevicePointer get() const { return memory_; }

   private:
    const Driver& driver_;
    DevicePointer memory_ = 0;
    size_t capacity_ = 0;
};

class PinnedMemory {
   public:
    explicit PinnedMemory(const Driver& driver) : driver_(driver) {}
    ~PinnedMemory() {
        if (memory_ != nullptr) driver_.host_free(memory_);
    }
    PinnedMemory(const PinnedMemory&) = delete;
    PinnedMemory& operator=(const PinnedMemory&) = delete;

    char* reserve(size_t bytes) {
        if (bytes <= capacity_) return static_cast<char*>(memory_);
        if (memory_ != nullptr) driver_.host_free(memory_);
        memory_ = nullptr;
        capacity_ = 0;
        driver_.check(driver_.host_take(&memory_, bytes, 0), "taking pinned memory");
        capacity_ = bytes;
        return static_cast<char*>(memory_);
    }

   private:
    const Driver& driver_;
    void* memory_ = nullptr;
    size_t capacity_ = 0;
};

}  // namespace jangtq::cuda
