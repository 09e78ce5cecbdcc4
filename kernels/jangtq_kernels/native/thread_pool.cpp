// See thread_pool.h.
#include "thread_pool.h"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__APPLE__)
#include <pthread/qos.h>
#endif

namespace jangtq {
namespace {

using Clock = std::chrono::steady_clock;

// Shorter than waking a thread, longer than the pauses inside a forward. A time and no count: how long a pause
// instruction takes differs twentyfold among processors.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kSpinsBetweenLooks = 16;

void relax() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // `yield` does nothing on Apple's cores
#endif
}

// Spins until ready or until the time is over; whether it is ready.
template <typename Ready>
bool spin(Ready ready) {
    if (ready()) return true;
    const Clock::time_point end = Clock::now() + kSpinTime;
    do {
        for (int look = 0; look < kSpinsBetweenLooks; ++look) {
            if (ready()) return true;
            relax();
        }
    } while (Clock::now() < end);
    return ready();
}

template <typename Ready>
void spin_then_yield(Ready ready) {
    if (spin(ready)) return;
    while (!ready()) std::this_thread::yield();
}

// Apple puts threads without a class on its slow cores when others are busy; a token waits for the slowest.
void ask_for_fast_cores() {
#if defined(__APPLE__)
    thread_local const bool asked = [] {
        return pthread_set_qos_class_self_np(QOS_CLASS_USER_INTERACTIVE, 0) == 0;
    }();
    (void)asked;
#endif
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
    ask_for_fast_cores();
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
    ask_for_fast_cores();
    uint64_t seen = 0;
    for (;;) {
        spin([&] { return round_.load(std::memory_order_acquire) != seen; });
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
