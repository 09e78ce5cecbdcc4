// See thread_pool.h.
#include "thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace jangtq {
namespace {

// About 50 microseconds: shorter than waking a thread, longer than the pauses inside a forward.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

template <typename Ready>
void spin_then_yield(Ready ready) {
    for (int spin = 0; !ready(); ++spin) {
        if (spin < kSpins) relax();
        else std::this_thread::yield();
    }
}

}  // namespace

ThreadPool::ThreadPool(int64_t threads) : threads_(threads) {
    try {
        for (int64_t thread = 1; thread < threads_; ++thread)
            others_.emplace_back([this, thread] { wait_for_work(thread); });
    } catch (...) {
        stop();
        throw;
    }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    for (auto& thread : others_) thread.join();
}

void ThreadPool::run(const std::function<void(int64_t)>& work) {
    if (threads_ == 1) {
        work(0);
        return;
    }
    done_.store(0, std::memory_order_relaxed);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        work_ = &work;
        round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    work(0);
    spin_then_yield([this] { return done_.load(std::memory_order_acquire) == threads_ - 1; });
}

void ThreadPool::meet() {
    if (threads_ == 1) return;
    const uint64_t meeting = meeting_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        meeting_.store(meeting + 1, std::memory_order_release);
        return;
    }
    spin_then_yield([this, meeting] { return meeting_.load(std::memory_order_acquire) != meeting; });
}

void ThreadPool::wait_for_work(int64_t thread) {
    uint64_t seen = 0;
    for (;;) {
        for (int spin = 0; spin < kSpins && round_.load(std::memory_order_acquire) == seen; ++spin) relax();
        {
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, [&] { return stopping_ || round_.load(std::memory_order_acquire) != seen; });
            if (stopping_) return;
            seen = round_.load(std::memory_order_acquire);
        }
        (*work_)(thread);
        done_.fetch_add(1, std::memory_order_release);
    }
}

}  // namespace jangtq
