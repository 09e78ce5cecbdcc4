// See copies.h.
#include "copies.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

namespace jangtq::cuda {

namespace {

// A thread takes about 20 microseconds to start, in which one copies some 200 KB.
constexpr int64_t kBytesForOneThread = 1 << 20;
constexpr int64_t kMostThreads = 8;

template <class Copy>
void in_parts(int64_t count, int64_t unit_bytes, const Copy& copy) {
    const int64_t threads = std::clamp<int64_t>(count * unit_bytes / kBytesForOneThread, 1, kMostThreads);
    const int64_t part = (count + threads - 1) / threads;
    std::vector<std::thread> others;
    for (int64_t first = part; first < count; first += part)
        others.emplace_back([&copy, first, end = std::min(first + part, count)] { copy(first, end); });
    copy(0, std::min(part, count));
    for (std::thread& other : others) other.join();
}

bool copy_part(float* to, const float* from, int64_t count) {
    uint32_t worst = 0;
    for (int64_t i = 0; i < count; ++i) {
        uint32_t bits;
        std::memcpy(&bits, from + i, sizeof bits);
        worst = std::max(worst, bits & 0x7fffffffu);
        std::memcpy(to + i, &bits, sizeof bits);
    }
    return worst < 0x7f800000u;
}

}  // namespace

void copy_bytes(char* to, const char* from, int64_t bytes) {
    in_parts(bytes, 1, [=](int64_t first, int64_t end) {
        std::memcpy(to + first, from + first, static_cast<size_t>(end - first));
    });
}

bool copy_finite(float* to, const float* from, int64_t count) {
    std::atomic<bool> finite{true};
    in_parts(count, sizeof(float), [=, &finite](int64_t first, int64_t end) {
        if (!copy_part(to + first, from + first, end - first)) finite = false;
    });
    return finite;
}

}  // namespace jangtq::cuda
