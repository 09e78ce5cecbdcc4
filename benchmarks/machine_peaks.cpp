// What this machine can do at most: streaming reads and float32 fused multiply-adds, on several threads.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

typedef float Floats __attribute__((vector_size(64)));
typedef uint64_t Words __attribute__((vector_size(64)));

using Clock = std::chrono::steady_clock;

// Seconds from the first thread's start to the last one's end.
template <typename Work>
double time_threads(int64_t threads, Work work) {
    std::atomic<int64_t> ready{0};
    std::vector<std::thread> others;
    std::vector<Clock::time_point> starts(static_cast<size_t>(threads)), ends(starts);
    const auto join = [&](int64_t thread) {
        ready.fetch_add(1);
        while (ready.load() < threads) {}
        starts[static_cast<size_t>(thread)] = Clock::now();
        work(thread);
        ends[static_cast<size_t>(thread)] = Clock::now();
    };
    for (int64_t thread = 1; thread < threads; ++thread) others.emplace_back(join, thread);
    join(0);
    for (auto& other : others) other.join();
    const auto first = *std::min_element(starts.begin(), starts.end());
    const auto last = *std::max_element(ends.begin(), ends.end());
    return std::chrono::duration<double>(last - first).count();
}

}  // namespace

extern "C" {

// Seconds to read `bytes` once, each thread its own part. The memory is 64-byte aligned.
double read_seconds(const void* memory, int64_t bytes, int64_t threads) {
    const Words* words = static_cast<const Words*>(memory);
    const int64_t count = bytes / static_cast<int64_t>(sizeof(Words)) / 8 * 8;
    return time_threads(threads, [&](int64_t thread) {
        const int64_t begin = count / 8 * thread / threads * 8, end = count / 8 * (thread + 1) / threads * 8;
        Words sums[8] = {};
        for (int64_t i = begin; i < end; i += 8)
            for (int64_t j = 0; j < 8; ++j) sums[j] ^= words[i + j];
        for (auto& sum : sums) asm volatile("" : : "m"(sum));
    });
}

// Seconds for `steps` times 12 fused multiply-adds of 16 floats on every thread.
double fma_seconds(int64_t steps, int64_t threads) {
    return time_threads(threads, [&](int64_t) {
        Floats sums[12] = {};
        Floats factor = Floats{} + 0.5f;
        asm volatile("" : "+m"(factor));
        for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 12
            for (int j = 0; j < 12; ++j) sums[j] = sums[j] * factor + factor;
        }
        for (auto& sum : sums) asm volatile("" : : "m"(sum));
    });
}

}
