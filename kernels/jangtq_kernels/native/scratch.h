// Memory that grows and is kept, aligned for any vector.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace jangtq {

class Scratch {
public:
    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::free(memory_); }

    // At least `count` floats; what was there before is lost. Throws std::bad_alloc.
    float* floats(int64_t count) {
        if (count > capacity_) {
            std::free(memory_);
            capacity_ = 0;
            const int64_t bytes = (count * 4 + 63) / 64 * 64;
            memory_ = std::aligned_alloc(64, static_cast<size_t>(bytes));
            if (memory_ == nullptr) throw std::bad_alloc();
            capacity_ = count;
        }
        return static_cast<float*>(memory_);
    }

private:
    void* memory_ = nullptr;
    int64_t capacity_ = 0;
};

}  // namespace jangtq
