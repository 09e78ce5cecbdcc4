// Threads that wait for work, run one function together, and meet at barriers inside it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace jangtq {

class ThreadPool {
public:
    // Throws std::system_error when the machine gives no more threads.
    explicit ThreadPool(int64_t threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int64_t threads() const { return threads_; }

    // Runs work(thread) on every thread, the caller's included, and returns when all are done.
    void run(const std::function<void(int64_t)>& work);

    // Called by every thread inside `work`; returns when all have called it.
    void meet();

private:
    void wait_for_work(int64_t thread);
    void stop();

    const int64_t threads_;
    std::vector<std::thread> others_;
    std::mutex mutex_;
    std::condition_variable wake_;
    const std::function<void(int64_t)>* work_ = nullptr;
    std::atomic<uint64_t> round_{0};
    std::atomic<int64_t> done_{0};
    std::atomic<bool> stopping_{false};
    std::atomic<int64_t> arrived_{0};
    std::atomic<uint64_t> meeting_{0};
};

// Hands out 0 .. count - 1 once each, to whoever asks first.
class TaskCounter {
public:
    void reset() { next_.store(0, std::memory_order_relaxed); }
    bool take(int64_t count, int64_t& task) {
        task = next_.fetch_add(1, std::memory_order_relaxed);
        return task < count;
    }

private:
    std::atomic<int64_t> next_{0};
};

}  // namespace jangtq
